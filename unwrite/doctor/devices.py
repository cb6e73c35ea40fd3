"""The devices that models compute on, and the dtypes that they compute fast."""

from __future__ import annotations

from collections.abc import Iterator

from unwrite.doctor.diagnosis import Diagnosis

_HALVES = ("bfloat16", "float16")
_SLOW = 1.5
"""How many times as long as float32 a dtype may take on a CPU before it is called slow."""


def examine_devices(requested: str = "auto", dtype: str = "auto") -> Iterator[Diagnosis]:
    """Describe each device, and say whether a model can compute as params.yaml asks.

    Args:
        requested: `runtime.device`.
        dtype: `model.dtype`.
    """
    import torch

    from unwrite.errors import UnwriteError
    from unwrite.models.compute_dtype import slowdown, why_unsupported
    from unwrite.models.placement import pick_device

    try:
        device = pick_device(requested)
    except UnwriteError as error:
        yield Diagnosis("stop", str(error))
        return
    times = {name: slowdown(getattr(torch, name)) for name in _HALVES}
    threads, instructions = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    compared = ", ".join(f"{name} {ratio:.2g} times" for name, ratio in times.items())
    cpu = f"CPU ({instructions}, threads: {threads}): a matrix product takes in {compared} the time of float32."
    yield Diagnosis("ok", cpu)
    for number in range(torch.cuda.device_count()):
        yield _gpu(torch.device("cuda", number))
    if device.type == "mps":
        yield Diagnosis("ok", "Apple GPU (mps).")
    if dtype == "auto":
        return
    if reason := why_unsupported(getattr(torch, dtype), device):
        yield Diagnosis("stop", f"{device} does not compute in {dtype} ({reason}).", "set model.dtype to auto.")
    elif device.type == "cpu" and times.get(dtype, 1) >= _SLOW:
        yield Diagnosis("note", f"model.dtype is {dtype}, which is slow here.", "set it to auto.")


def _gpu(device: object) -> Diagnosis:
    import torch

    from unwrite.models.compute_dtype import why_unsupported
    from unwrite.models.placement import size_text

    gpu = torch.device(str(device))
    properties = torch.cuda.get_device_properties(gpu)
    free, total = torch.cuda.mem_get_info(gpu)
    fast = [name for name in _HALVES if not why_unsupported(getattr(torch, name), gpu)]
    return Diagnosis(
        "ok",
        f"{gpu}: {properties.name}, {size_text(free)} of {size_text(total)} free, computes in {' and '.join(fast)}.",
    )
