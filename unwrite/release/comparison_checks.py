"""The check of what an evaluation concludes: its comparisons and gates follow from its rates, counts and parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.schema.evaluation import Comparison, Evaluation
from unwrite.schema.gate_values import evaluated_gates

_SLACK = 1e-9


def conclusion_problems(evaluation: Evaluation, declared: Mapping[str, Any]) -> Iterator[str]:
    """Yield how comparisons, intervals of means and gates contradict the other figures.

    Args:
        evaluation: all figures.
        declared: the section `evaluate` of the parameters.
    """
    for one in evaluation.comparisons:
        yield from _count_problems(evaluation, one)
    yield from _p_problems(evaluation.comparisons)
    for name in ("kl_first_token", "kl_response"):
        interval = getattr(evaluation, f"{name}_interval")
        if interval is not None and interval.low > interval.high:
            yield f"{name} has the interval {interval.low:.4g}–{interval.high:.4g}"
    yield from _gate_problems(evaluation, declared)


def _count_problems(evaluation: Evaluation, one: Comparison) -> Iterator[str]:
    name = f"the comparison of {one.figure} on {one.prompts} prompts"
    before, after = (
        getattr(model.by_set().get(one.prompts), one.figure, None) for model in (evaluation.base, evaluation.edited)
    )
    if before is None or after is None:
        yield f"{name} has no such rates"
        return
    hits, hits_after = round(before.value * before.n), round(after.value * after.n)
    lost = hits - hits_after
    if not (0 <= one.only_base <= hits and 0 <= one.only_edited <= hits_after):
        yield f"{name} counts {one.only_base} and {one.only_edited} of {one.n} prompts"
    elif not one.n == before.n == after.n:
        yield f"{name} is over {one.n} prompts, its rates over {before.n} and {after.n}"
    elif one.only_base - one.only_edited != lost:
        yield f"{name} counts {one.only_base} and {one.only_edited}, but the rates differ by {lost} responses"


def _p_problems(comparisons: Sequence[Comparison]) -> Iterator[str]:
    try:
        from unwrite.core.significance import holm_adjusted, mcnemar_p

        expected = [mcnemar_p(max(0, one.only_base), max(0, one.only_edited)) for one in comparisons]
        adjusted = holm_adjusted(expected)
    except ModuleNotFoundError:  # scipy and statsmodels come with the pipeline
        return
    for one, p, after in zip(comparisons, expected, adjusted, strict=True):
        for stated, right, name in ((one.p, p, "p"), (one.p_adjusted, after, "p_adjusted")):
            if not math.isclose(stated, right, rel_tol=_SLACK):
                where = f"{one.figure} on {one.prompts} prompts"
                yield f"{name} of {where} is {stated:.4g}, but the counts give {right:.4g}"


def _gate_problems(evaluation: Evaluation, declared: Mapping[str, Any]) -> Iterator[str]:
    gates = [f"{gate.figure} {gate.bound}" for gate in evaluation.gates]
    try:
        if evaluated_gates(evaluation, declared.get("gates", gates)) != evaluation.gates:
            yield "the gates are not those of the parameters, or do not follow from the figures"
    except (UnwriteError, ValueError, AttributeError, TypeError) as error:
        yield f"the gates cannot be checked ({error})"
