"""Choose the dtype that a model computes in: what its device computes well and has room for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.placement import ROOM_FOR_PASSES, size_text

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

_SHAPE = (512, 576, 1536)
"""The matrix product that a dtype is timed on, [rows, in] × [in, out], as in a small chat model's MLP."""
_TIMES = 5


def choose_dtype(
    requested: str, stored: torch.dtype, device: torch.device, checkpoint_bytes: int, free_bytes: int
) -> torch.dtype:
    """Return the dtype to compute in.

    On a CPU, `auto` is float32 if the model then fits in memory: processors without instructions for 16 bits take
    several times as long with them. On an accelerator it is the stored dtype, or float16 where bfloat16 is not
    supported.

    Args:
        requested: `auto`, or the name of a torch dtype.
        stored: dtype of the checkpoint.
        device: where the model computes.
        checkpoint_bytes: size of the weights as stored.
        free_bytes: free memory; read only on a CPU.

    Raises:
        UnwriteError: the device does not compute in the requested dtype.
        ValueError: torch has no dtype of this name.
    """
    if requested != "auto":
        dtype = getattr(torch, requested, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"dtype must be auto or the name of a torch dtype, got {requested!r}")
        if reason := why_unsupported(dtype, device):
            raise UnwriteError(
                f"model.dtype is {requested}, which {device} does not compute in ({reason}). Set it to auto or float32."
            )
        return dtype
    if device.type != "cpu":
        return torch.float16 if stored == torch.bfloat16 and why_unsupported(stored, device) else stored
    needed = ROOM_FOR_PASSES * checkpoint_bytes * torch.float32.itemsize / stored.itemsize
    if stored.itemsize >= torch.float32.itemsize or needed <= free_bytes:
        return torch.float32
    logger.info(
        f"float32 needs about {size_text(needed)} of memory and {size_text(free_bytes)} are free: computing in "
        f"{dtype_name(stored)} as stored. Processors without instructions for it take several times as long."
    )
    return stored


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def stored_dtype(config: PreTrainedConfig) -> torch.dtype:
    """Return the dtype that a configuration says its checkpoint has; float32 if it says none."""
    configured = config.dtype or config.get_text_config().dtype or torch.float32
    return configured if isinstance(configured, torch.dtype) else cast("torch.dtype", getattr(torch, configured))


def checkpoint_size(folder: Path) -> int:
    """Return the bytes of the weights in a folder."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def why_unsupported(dtype: torch.dtype, device: torch.device) -> str:
    """Return why a device cannot compute in a dtype; empty if it can."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        # torch emulates what the device lacks, slowly
        return "" if torch.cuda.is_bf16_supported(including_emulation=False) else "it has no instructions for it"
    try:
        one = torch.ones(1, 1, dtype=dtype, device=device)
        torch.matmul(one, one)
    except (RuntimeError, TypeError) as error:
        return reason_of(error)
    return ""


def slowdown(dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure how many times as long as float32 a matrix product takes in a dtype, on this CPU."""
    return _seconds(dtype, clock) / _seconds(torch.float32, clock)


def _seconds(dtype: torch.dtype, clock: Callable[[], float]) -> float:
    rows, width, out = _SHAPE
    left, right = torch.ones(rows, width, dtype=dtype), torch.ones(width, out, dtype=dtype)
    taken = []
    for _ in range(_TIMES):
        start = clock()
        torch.matmul(left, right)
        taken.append(clock() - start)
    return min(taken)  # the others waited for something else
