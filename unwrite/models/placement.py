"""Place a model on the devices of a machine: on one where it fits, else over all GPUs, then in memory, then on disk."""

from __future__ import annotations

import logging
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, missing_package, reason_of
from unwrite.models.allocator import return_freed_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

ROOM_FOR_PASSES = 1.25
"""Memory that a model needs, relative to its weights: passes, caches and log-probabilities take the rest."""

MaxMemory = Mapping[int | str, int | str]
"""The most memory to take for weights, by GPU number, `mps` or `cpu`: bytes, or a text such as `20GiB` (accelerate)."""


class Placement(Protocol):
    """Where a model may be; section `runtime` of params.yaml is one.

    device: `auto`, or the one device that holds the whole model.
    max_memory: for `auto`, the most memory to take for weights; None for what is free.
    offload_folder: where weights are kept that fit nowhere else and cannot be read from the checkpoint as they are.
    """

    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def max_memory(self) -> MaxMemory | None: ...  # noqa: D102
    @property
    def offload_folder(self) -> str: ...  # noqa: D102


def pick_device(device: torch.device | str) -> torch.device:
    """Return the device of this name; `auto` is a GPU if there is one.

    Raises:
        UnwriteError: this machine does not have the device.
    """
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        named = torch.device(device)
        torch.empty(1, device=named)
    except (RuntimeError, AssertionError) as error:
        raise UnwriteError(
            f"runtime.device must be a device of this machine, got {device!r} ({reason_of(error)}). "
            "Set it to auto or cpu."
        ) from error
    return named


def size_text(count: float) -> str:
    """Return bytes in the unit that people read."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def free_memory() -> int:
    """Return the bytes of memory that programs can still take on this machine, once this one keeps none in reserve.

    What other processes keep in reserve counts as taken.
    """
    return_freed_memory()
    return int(psutil.virtual_memory().available)


def free_bytes(device: torch.device) -> int:
    """Return the bytes that are free on a device; Apple's GPU shares the machine's memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


def memory_to_spread_over(placement: Placement, model_bytes: int) -> MaxMemory | None:
    """Return the memory that a model is spread over; None if one device holds it.

    Args:
        placement: where the model may be.
        model_bytes: its size in memory.

    Raises:
        UnwriteError: it has to be spread, and accelerate is not installed.
    """
    if placement.device != "auto":
        return None
    device = pick_device("auto")
    limits = placement.max_memory
    if not limits:
        free, needed = free_bytes(device), ROOM_FOR_PASSES * model_bytes
        if needed <= free:
            return None
        logger.info(
            f"The model needs about {size_text(needed)} and {device} has {size_text(free)} free: it is spread over "
            "all GPUs, then memory, then disk, and takes as long as the slowest of them."
        )
    if find_spec("accelerate") is None:
        raise missing_package("A model larger than one device", ModuleNotFoundError(name="accelerate"))
    return limits or _free_by_device()


def load_spread(
    load: Callable[[Mapping[str, Any]], PreTrainedModel], max_memory: MaxMemory, offload_folder: Path
) -> PreTrainedModel:
    """Load a model spread over devices. What fits on none stays in the checkpoint, and is read when its layer runs.

    Where transformers changes a weight while loading it (fused experts), the changed weight is written to a temporary
    folder, which is deleted with the model.

    Args:
        load: callback that loads the model, given further arguments of `from_pretrained`.
        max_memory: the most memory to take for weights, by device.
        offload_folder: where the temporary folder is made.

    Raises:
        UnwriteError: the folder has no room, or cannot be written.
    """
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)  # it warns that weights are not in memory
    try:
        offload_folder.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=offload_folder, prefix="weights-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UnwriteError(f"runtime.offload_folder ({offload_folder}) cannot be written: {error.strerror}.") from error
    try:
        model = load({"device_map": "auto", "max_memory": dict(max_memory), "offload_folder": folder.name})
    except Exception as error:
        folder.cleanup()
        if "No space left" in str(error):
            raise UnwriteError(
                f"runtime.offload_folder ({offload_folder}) has no room for the weights that fit on no device. "
                "Free some, or set it to a folder on another disk."
            ) from error
        raise
    weakref.finalize(model, folder.cleanup)
    sizes = ", ".join(f"{device} {size_text(size)}" for device, size in bytes_by_device(model).items())
    logger.info(f"Weights: {sizes}.")
    return model


def is_spread(model: nn.Module) -> bool:
    """Return whether parts of a model are on different devices, or on none."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1 or is_offloaded(model)


def is_offloaded(model: nn.Module) -> bool:
    """Return whether some weights of a model are read only when their layer runs."""
    return any(parameter.is_meta for parameter in model.parameters())


def input_device(model: PreTrainedModel) -> torch.device:
    """Return the device that a model takes its inputs on; an embedding that is offloaded is on none."""
    if model.device.type != "meta":
        return model.device
    hook: Any = model._hf_hook
    return torch.device(hook.execution_device)


def pass_device(model: PreTrainedModel) -> torch.device:
    """Return the device whose memory limits a forward pass. Of a spread model no device says it: the CPU's limits."""
    return torch.device("cpu") if is_spread(model) else input_device(model)


def bytes_by_device(model: nn.Module) -> Counter[str]:
    """Count the bytes of a model's parameters on each device; `disk` for those that are on none."""
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        sizes["disk" if parameter.is_meta else str(parameter.device)] += parameter.nbytes
    return sizes


def parameters_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the named parameters' values: the same memory, except on Apple's GPU, which has no float64 for edits.

    Of offloaded parameters, vectors (biases, scales of norms) are read; matrices stay on the meta device, since the
    checkpoint holds them.
    """
    return {name: _value_of(model, name) for name in names}


def _value_of(model: nn.Module, name: str) -> Tensor:
    value = model.get_parameter(name).data
    if value.is_meta and value.dim() == 1:
        from transformers.integrations.accelerate import load_offloaded_parameter

        return load_offloaded_parameter(model, name).to(value.dtype)  # type: ignore[arg-type]
    return value.cpu() if value.device.type == "mps" else value


def _free_by_device() -> dict[int | str, int]:
    """Return the memory that weights may take on each device when its passes are to have room beside them."""
    from accelerate.utils import get_max_memory

    return {device: int(size / ROOM_FOR_PASSES) for device, size in get_max_memory().items()}
