"""Whether the model of params.yaml fits in memory, and what the pipeline writes on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unwrite.doctor.diagnosis import Diagnosis
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Base, read_artifact
from unwrite.schema.paths import BASE


def weights_of(source: str) -> int | None:
    """Return the bytes of a model's weights, in its folder or as pinned; None if they are not known yet.

    Args:
        source: `model.source`.
    """
    from unwrite.models.compute_dtype import checkpoint_size
    from unwrite.models.folder import local_folder

    folder = local_folder(source)
    if folder.is_dir():
        return checkpoint_size(folder)
    try:
        base = read_artifact(Base, BASE, "pin_model")
    except UnwriteError:
        return None
    if base.source != source:
        return None
    return sum(file.size for file in base.files if file.name.endswith(".safetensors"))


def examine_room(weights: int, *, memory: int, disk: int, copies: int, spreads: bool) -> Iterator[Diagnosis]:
    """Compare a model with the memory and the disk that are free.

    Args:
        weights: bytes of its weights.
        memory: free bytes of memory, on the device that computes.
        disk: free bytes of the disk.
        copies: how often the edited model is stored: once, or twice where DVC's cache copies it.
        spreads: whether a model larger than its device is spread over others, memory and disk (`models.placement`).
    """
    from unwrite.models.placement import ROOM_FOR_PASSES, size_text

    needed = int(ROOM_FOR_PASSES * weights)
    room = f"The model has {size_text(weights)} of weights; {size_text(memory)} of memory are free."
    if spreads and memory < needed:
        remedy = "set model.quantization to nf4 (extra quantized), or use a larger device."
        yield Diagnosis("note", f"{room} It is spread over all GPUs, then memory, then disk, which is slow.", remedy)
    elif memory < weights:
        remedy = "close other programs, set model.quantization to nf4 (extra quantized), or use a larger machine."
        yield Diagnosis("stop", room, remedy)
    elif memory < needed:
        yield Diagnosis("note", f"{room} Passes need about a quarter more.", "close other programs.")
    else:
        yield Diagnosis("ok", room)
    stored = copies * weights
    space = f"The edited model takes {size_text(stored)} of disk; {size_text(disk)} are free."
    if disk < stored:
        yield Diagnosis("stop", space, "free some space: merging stops without it.")
    else:
        yield Diagnosis("ok", space)


def free_room(device: str) -> tuple[int, int]:
    """Return the free bytes of memory on a device, and of the disk of the current folder."""
    import shutil

    from unwrite.models.placement import free_bytes, pick_device

    chosen = pick_device(device)
    memory = free_bytes(chosen)
    return memory, shutil.disk_usage(Path.cwd()).free
