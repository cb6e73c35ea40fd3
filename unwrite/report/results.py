"""The results of an evaluation as the page shows them: rates set by set with their comparison, and words for each."""

from __future__ import annotations

from typing import NamedTuple

from unwrite.report.format import percent
from unwrite.report.tables import FIGURES
from unwrite.schema.evaluation import Comparison, Evaluation, SetScores, Share


class ResultRow(NamedTuple):
    """A rate before and after the edit, and the test of McNemar on the same prompts, if there was one."""

    field: str
    figure: str
    base: Share
    edited: Share
    comparison: Comparison | None


class ResultGroup(NamedTuple):
    """The rates of one prompt set, and the mean number of tokens of its responses, where recorded."""

    prompts: str
    rows: list[ResultRow]
    mean_tokens: tuple[float, float] | None


def result_groups(evaluation: Evaluation) -> list[ResultGroup]:
    """Return every prompt set with the rates that both models have: target, baseline, then the others."""
    edited = evaluation.edited.by_set()
    return [
        _group(name, before, edited[name], evaluation)
        for name, before in evaluation.base.by_set().items()
        if name in edited
    ]


def _group(name: str, before: SetScores, after: SetScores, evaluation: Evaluation) -> ResultGroup:
    rows = []
    for field, figure in FIGURES.items():
        base, edited = getattr(before, field), getattr(after, field)
        if base is not None and edited is not None:
            rows.append(ResultRow(field, figure, base, edited, comparison_of(evaluation, name, field)))
    if before.mean_tokens is None or after.mean_tokens is None:
        return ResultGroup(name, rows, None)
    return ResultGroup(name, rows, (before.mean_tokens, after.mean_tokens))


def comparison_of(evaluation: Evaluation, prompts: str, field: str) -> Comparison | None:
    """Return the comparison of one rate, or None if it was not compared."""
    return next((one for one in evaluation.comparisons if (one.prompts, one.figure) == (prompts, field)), None)


def p_text(p: float) -> str:
    """Return a p-value as it is read: "p < 0.001", or two digits.

    Example:
        >>> p_text(0.0412), p_text(2e-9), p_text(1.0)
        ('p = 0.041', 'p < 0.001', 'p = 1')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def change_text(row: ResultRow, alpha: float = 0.05) -> str:
    """Return in words what a comparison says, for the summary.

    Args:
        row: the rate.
        alpha: the level of significance.
    """
    if row.comparison is None:
        return ""
    p = row.comparison.p_adjusted
    return f"{'significant' if p < alpha else 'no significant difference'}, {p_text(p)}"


def headline(evaluation: Evaluation) -> str:
    """Return the result in one sentence: the behaviour rate on target prompts, before and after."""
    row = next(row for row in result_groups(evaluation)[0].rows if row.field == "behaviour_rate")
    sentence = (
        f"On test prompts that show it, the behaviour rate went from {percent(row.base.value)} "
        f"to {percent(row.edited.value)}"
    )
    return f"{sentence} ({change_text(row)})." if row.comparison is not None else f"{sentence}."
