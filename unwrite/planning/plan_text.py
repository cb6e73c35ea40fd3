"""A plan as text: the model and where it will be, a table of stages, and what to change if it does not fit."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from unwrite.models.compute_dtype import dtype_name
from unwrite.models.placement import ROOM_FOR_PASSES, size_text
from unwrite.planning.plan import RunPlan
from unwrite.planning.stage_needs import StageNeeds
from unwrite.planning.work import ASSUMED_LENGTH

_REMEDIES = {
    "weights": "set model.quantization to nf4 (extra quantized), or model.dtype to bfloat16",
    "a pass": "lower runtime.batch_tokens",
    "logits": "lower optimize.kl_tokens and generate.kl_tokens",
    "base log-probabilities": "lower optimize.kl_tokens, or tokenize.splits.validation",
    "residuals": "lower tokenize.splits.train, or name fewer residuals.positions",
    "lower layers": "lower tokenize.splits.validation",
}
_DIGITS = 3


def plan_text(plan: RunPlan) -> str:
    """Return the plan as lines of at most 120 characters."""
    parts = [*_model_lines(plan), "", _table(plan), "", *_notes(plan)]
    return "\n".join(parts)


def time_text(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _model_lines(plan: RunPlan) -> Iterator[str]:
    size, dtype = plan.size, dtype_name(plan.dtype)
    storage = dtype if plan.quantization == "none" else f"{plan.quantization} (the rest in {dtype})"
    yield (
        f"Model: {size.parameters / 1e6:,.0f} M parameters, {size.layers} layers of width {size.hidden}; "
        f"{size_text(size.weight_bytes(plan.dtype.itemsize))} of weights in {storage} on {plan.device}, "
        f"{size_text(plan.free)} free."
    )
    if plan.spread is not None:
        over = ", ".join(f"{device}: {memory}" for device, memory in plan.spread.items())
        what = "It" if plan.quantization == "none" else "Where it is not quantized (generate_responses), it"
        yield f"{what} is spread over several devices, then disk (at most {over}), and as fast as the slowest of them."
    counts = ", ".join(f"{len(plan.work.of(split))} {split}" for split in ("train", "validation", "test"))
    length = "" if plan.work.known else f", taken to have {ASSUMED_LENGTH} tokens each until they are tokenized"
    yield f"Prompts: {counts}{length}."


def _table(plan: RunPlan) -> str:
    python = 0 if plan.device.type == "cuda" else plan.python
    rows = [
        [stage.stage, size_text(stage.peak + python), _of_which(stage, python), _seconds(plan, stage)]
        for stage in plan.stages
    ]
    headers = ["stage", "memory", "of which", "time, at most"]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", "right", "left", "right"))


def _of_which(stage: StageNeeds, python: int) -> str:
    parts = sorted({**stage.memory, "Python": python}.items(), key=lambda part: -part[1])[:_DIGITS]
    return ", ".join(f"{name} {size_text(size)}" for name, size in parts if size)


def _seconds(plan: RunPlan, stage: StageNeeds) -> str:
    return "" if plan.speed is None else time_text(plan.speed.seconds(stage.passes))


def _notes(plan: RunPlan) -> Iterator[str]:
    largest = plan.largest
    if plan.speed is None:
        yield "Times are estimated when the model is in a folder here, from a few tokens."
    else:
        total = sum(plan.speed.seconds(stage.passes) for stage in plan.stages)
        yield (
            f"In all {time_text(total)} at most: every response as long as it may be, no trial stopped early, no layer "
            "left out."
        )
    yield f"The edited model takes {size_text(plan.stored)} of disk."
    layer = ROOM_FOR_PASSES * plan.size.largest_layer * plan.dtype.itemsize
    if plan.device.type == "cuda":
        yield "On a GPU, passes are as long as the memory that weights leave; the figures are those of a CPU's passes."
    if layer > plan.free:
        yield f"Does not fit: one layer needs {size_text(layer)}. Use a larger device, or {_remedy(plan, 'weights')}."
    elif plan.peak > plan.free and plan.spread is None:
        most = max(largest.memory, key=lambda part: largest.memory[part])
        yield f"Does not fit: {largest.stage} needs {size_text(plan.peak)}. To change that, {_remedy(plan, most)}."
    else:
        yield f"It fits. {plan.free // plan.peak or 1} such processes fit next to each other."


def _remedy(plan: RunPlan, part: str) -> str:
    """Return what makes a part of the memory smaller."""
    if part == "weights" and plan.quantization != "none":
        return "set model.dtype to bfloat16, or runtime.device to auto"
    return _REMEDIES[part]
