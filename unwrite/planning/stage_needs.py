"""What each stage that runs the model needs: memory, counted from sizes, and passes, counted in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unwrite.models.batches import FORWARD_TOKENS
from unwrite.models.lower_layers import MOST_BYTES
from unwrite.models.memory import Limits
from unwrite.planning.model_size import ModelSize
from unwrite.planning.work import Work
from unwrite.schema.params import Params

_BYTES_PER_LOGIT = 12  # in a pass that compares logits: the logits, their log-softmax, and the terms of the sum
_STREAMS, _WIDEST = 6, 3  # vectors of width d, and of a layer's widest module, that a pass holds per token at its peak


class ItemSizes(NamedTuple):
    """Bytes of a number in the dtype that stages compute in.

    measured: in the stages that quantize the model if that is asked for.
    unquantized: in the one that never does, which compares base and release.
    """

    measured: int
    unquantized: int


class Passes(NamedTuple):
    """Forward passes: prompt tokens read, and responses generated as (how many prompts, the most tokens of each)."""

    read: int = 0
    generated: tuple[tuple[int, int], ...] = ()

    def times(self, factor: int) -> Passes:
        """Return the passes of several runs of the same."""
        return Passes(self.read * factor, self.generated * factor)


class StageNeeds(NamedTuple):
    """The needs of a stage.

    memory: bytes by what takes them, in addition to Python and its packages.
    passes: the most that it runs.
    """

    stage: str
    memory: Mapping[str, int]
    passes: Passes

    @property
    def peak(self) -> int:
        """Bytes of memory, Python and its packages apart."""
        return sum(self.memory.values())


def stage_needs(params: Params, work: Work, size: ModelSize, itemsizes: ItemSizes, limits: Limits) -> list[StageNeeds]:
    """Count the needs of the stages that run the model, in the order that they run in.

    Args:
        params: all parameters.
        work: the prompts.
        size: the model.
        itemsizes: bytes of a number in the dtype that the model computes in.
        limits: what one forward pass may hold.
    """
    itemsize, unquantized = itemsizes
    weights = {"weights": size.weight_bytes(itemsize)}
    generate = params.generate
    found = [
        StageNeeds(
            "extract_residuals",
            weights
            | {"a pass": _pass_bytes(size, itemsize, work.of("train", "validation"), 0, limits)}
            | {"residuals": _residual_bytes(params, work, size, itemsize)},
            Passes(sum(work.of("train", "validation"))),
        ),
        StageNeeds("optimize_weights", *_search(params, work, size, itemsize, limits)),
        StageNeeds(
            "check_causality",
            weights
            | {"a pass": _pass_bytes(size, itemsize, work.of("validation"), params.optimize.max_tokens, limits)},
            _responses(work.lengths["target", "validation"], params.optimize.max_tokens).times(
                2 + 3 * params.causality.directions * (1 + params.causality.controls)
            ),
        ),
        StageNeeds(
            "generate_responses",
            {"weights": size.parameters * unquantized}
            | {"a pass": _pass_bytes(size, unquantized, work.of("test"), generate.max_tokens, limits)}
            | _divergence_bytes(size, len(work.lengths["baseline", "test"]), generate.kl_tokens, limits),
            _responses([*work.of("test"), *work.extra()], generate.max_tokens).times(2),
        ),
    ]
    if params.filter.target or params.filter.baseline:
        longest = params.filter.max_tokens
        passes = {"a pass": _pass_bytes(size, itemsize, work.of("train"), longest, limits)}
        found.insert(1, StageNeeds("filter_prompts", weights | passes, _responses(work.of("train"), longest)))
    return found


def _search(
    params: Params, work: Work, size: ModelSize, itemsize: int, limits: Limits
) -> tuple[dict[str, int], Passes]:
    optimize = params.optimize
    target, baseline = (work.lengths[name, "validation"] for name in ("target", "baseline"))
    kept = sum(min(MOST_BYTES, sum(lengths) * size.layers * size.hidden * itemsize) for lengths in (target, baseline))
    memory = {
        "weights": size.weight_bytes(itemsize),
        "a pass": _pass_bytes(size, itemsize, target, optimize.max_tokens, limits),
        "lower layers": kept,
        **_divergence_bytes(size, len(baseline), optimize.kl_tokens, limits),
    }
    trial = Passes(
        sum(target) + sum(baseline) + len(baseline) * optimize.kl_tokens, ((len(target), optimize.max_tokens),)
    )
    base = Passes(sum(baseline), ((len(baseline), optimize.kl_tokens),))
    total = trial.times(optimize.trials + 1)
    return memory, Passes(total.read + base.read, total.generated + base.generated)


def _responses(lengths: Sequence[int], longest: int) -> Passes:
    return Passes(sum(lengths), ((len(lengths), longest),))


def _residual_bytes(params: Params, work: Work, size: ModelSize, itemsize: int) -> int:
    """Return the bytes of the residuals of the largest set and split; one is in memory at a time."""
    most = max(len(lengths) for (_, split), lengths in work.lengths.items() if split != "test")
    return most * len(params.residuals.positions) * (size.layers + 1) * size.hidden * itemsize


def _pass_bytes(size: ModelSize, itemsize: int, lengths: Sequence[int], generated: int, limits: Limits) -> int:
    """Return what a pass holds besides weights: cached keys and values, and the numbers between modules."""
    longest = max(lengths, default=0)
    rows = min(len(lengths), max(1, (limits.generation if generated else limits.one_pass) // (longest + generated)))
    read = rows * longest if generated else min(FORWARD_TOKENS, rows * longest)
    cached = rows * (longest + generated) * size.cached if generated else 0
    between = read * (_STREAMS * size.hidden + _WIDEST * size.widest)
    return (cached + between) * itemsize


def _divergence_bytes(size: ModelSize, prompts: int, tokens: int, limits: Limits) -> dict[str, int]:
    """Return what the KL divergence takes: the base model's log-probabilities in float32, and a pass's own logits."""
    logits = prompts * tokens * size.vocabulary
    return {"base log-probabilities": 4 * logits, "logits": _BYTES_PER_LOGIT * min(limits.logits, logits)}
