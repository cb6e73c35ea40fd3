"""The plan of a run: where the model will be, and what each stage will take of memory and time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from unwrite.models.compute_dtype import dtype_name, stored_dtype
from unwrite.models.folder import local_folder
from unwrite.models.loading import dtype_to_compute_in, load_model
from unwrite.models.memory import constant_limits
from unwrite.models.placement import MaxMemory, free_bytes, memory_to_spread_over, pick_device
from unwrite.pipeline.found_model import find_config
from unwrite.planning.model_size import ModelSize, model_size
from unwrite.planning.speed import Speed, measure_speed
from unwrite.planning.stage_needs import ItemSizes, StageNeeds, stage_needs
from unwrite.planning.work import Work, read_work
from unwrite.schema.params import Params
from unwrite.terms import Quantization


class RunPlan(NamedTuple):
    """The plan of a run.

    size: the model's sizes.
    dtype: what it computes in.
    quantization: how its weights are stored, but where responses of base and release are compared.
    stored: bytes of its checkpoint, which the edited model takes again on disk.
    device: where it computes.
    free: bytes that are free there.
    spread: the memory that it is spread over, by device; None if the device holds it.
    python: bytes that Python and its packages take.
    work: the prompts.
    stages: needs of the stages that run the model, in order.
    speed: how fast the model runs here; None if that was not measured.
    """

    size: ModelSize
    dtype: torch.dtype
    quantization: Quantization
    stored: int
    device: torch.device
    free: int
    spread: MaxMemory | None
    python: int
    work: Work
    stages: list[StageNeeds]
    speed: Speed | None = None

    @property
    def largest(self) -> StageNeeds:
        """The stage that needs the most memory."""
        return max(self.stages, key=lambda stage: stage.peak)

    @property
    def peak(self) -> int:
        """Bytes that a process takes at most of the memory of the device that computes."""
        return self.largest.peak + (0 if self.device.type == "cuda" else self.python)


def make_plan(params: Params, *, measure: bool) -> RunPlan:
    """Plan the run of the project in the current folder. Runs no stage, and downloads no weights.

    Args:
        params: all parameters.
        measure: whether to load the model and run it on a few tokens, for the times. Only done if it is a folder here.

    Raises:
        UnwriteError: the model's configuration cannot be read, or the model cannot be loaded.
    """
    config = find_config(params.model.source, params.model.revision)
    quantization = params.model.quantization
    size, work, device = model_size(config, quantization), read_work(params), pick_device(params.runtime.device)
    stored = size.parameters * stored_dtype(config).itemsize
    dtype = dtype_to_compute_in(config, params.model.dtype, device, stored, quantization)
    unquantized = dtype
    if quantization != "none":
        unquantized = dtype_to_compute_in(config, params.model.dtype, device, stored)
    itemsizes, limits = ItemSizes(dtype.itemsize, unquantized.itemsize), constant_limits(params.runtime.batch_tokens)
    plan = RunPlan(
        size=size,
        dtype=dtype,
        quantization=quantization,
        stored=stored,
        device=device,
        free=free_bytes(device),
        spread=memory_to_spread_over(params.runtime, size.parameters * unquantized.itemsize),
        python=psutil.Process().memory_info().rss,
        work=work,
        stages=stage_needs(params, work, size, itemsizes, limits),
    )
    folder = local_folder(params.model.source)
    return plan._replace(speed=_speed(folder, params, dtype)) if measure and folder.is_dir() else plan


def _speed(folder: Path, params: Params, dtype: torch.dtype) -> Speed:
    if params.runtime.threads:
        torch.set_num_threads(params.runtime.threads)
    return measure_speed(load_model(folder, dtype_name(dtype), params.runtime, params.model.quantization))
