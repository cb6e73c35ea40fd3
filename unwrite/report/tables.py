"""The results as text: how rates are written, and the tables they are in."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Base
from unwrite.schema.evaluation import Comparison, Evaluation, Interval, Share
from unwrite.schema.gate_values import gate_text
from unwrite.schema.paths import MODEL, REPORT
from unwrite.terms import SETS

FIGURES = {
    "behaviour_rate": "behaviour rate",
    "degenerate_rate": "degenerate rate",
    "cut_rate": "cut at the limit",
    "reference_accuracy": "reference accuracy",
}


_HEADERS = ("base model", "edited model", "n")


class RateRow(NamedTuple):
    """One rate of one prompt set, before and after the edit."""

    prompts: str
    figure: str
    base: Share
    edited: Share


def interval_text(share: Share) -> str:
    """Return a share with its interval: "97.0 % (91.5–99.0)"."""
    return f"{percent(share.value)} ({100 * share.low:.1f}–{100 * share.high:.1f})"


def rate_text(share: Share) -> str:
    """Return a share with its interval and the number of responses: "97.0 % (91.5–99.0, n = 100)"."""
    return f"{interval_text(share)[:-1]}, n = {share.n})"


def model_name(base: Base) -> str:
    """Return the name of the base model: its hub id or relative folder; for any other folder, only its last part."""
    folder = Path(base.source)
    if base.commit is not None or not (folder.is_absolute() or {"..", "~"} & set(folder.parts)):
        return base.source
    return folder.absolute().name


def rate_rows(evaluation: Evaluation) -> list[RateRow]:
    """Return every rate that was measured: on target prompts, on baseline prompts, and on the extra sets by name."""
    rows = []
    edited_sets = evaluation.edited.by_set()
    for prompts, before in evaluation.base.by_set().items():
        after = edited_sets.get(prompts)
        for field, figure in FIGURES.items():
            base, edited = getattr(before, field), getattr(after, field, None)
            if base is not None and edited is not None:
                rows.append(RateRow(prompts, figure, base, edited))
    return rows


def summary_text(evaluation: Evaluation, behaviour: str | None = None) -> str:
    """Return the summary of a run, for a terminal of 80 columns: the results, and where to find model and report.

    Args:
        evaluation: both models on the test split.
        behaviour: the behaviour that was removed, in one line; not shown if None.
    """
    lines = [f"Behaviour: {' '.join(behaviour.split())}", ""] if behaviour else []
    return "\n".join([*lines, measured_text(evaluation), "", f"Model:  {MODEL}", f"Report: {REPORT}"])


def measured_text(evaluation: Evaluation) -> str:
    """Return rates before and after with their intervals, and the divergences, for a terminal of 80 columns."""
    lines = [_rates_table(evaluation), "", *_extra_tables(evaluation), *_changed_lines(evaluation)]
    if evaluation.reference_ceiling is not None:
        known = percent(evaluation.reference_ceiling)
        lines += [f"Best possible target reference accuracy (before the behaviour was added): {known}"]
    lines += [
        "KL divergence from the base model, on baseline prompts:",
        f"  {_mean_text(evaluation.kl_first_token, evaluation.kl_first_token_interval)} at the first response token",
        f"  {_mean_text(evaluation.kl_response, evaluation.kl_response_interval)} averaged over the first tokens",
    ]
    lines += [f"Gate {'kept' if gate.passed else 'failed'}: {gate_text(gate)}" for gate in evaluation.gates]
    return "\n".join(lines)


def significant(evaluation: Evaluation) -> list[Comparison]:
    """Return the comparisons whose difference is hardly chance: adjusted p-value below one minus the confidence."""
    return [one for one in evaluation.comparisons if one.p_adjusted < 1 - evaluation.confidence]


def _changed_lines(evaluation: Evaluation) -> list[str]:
    """Return which rates differ between the models by more than chance, wrapped to 80 columns."""
    if not evaluation.comparisons:
        return []
    names = [f"{one.prompts} {FIGURES.get(one.figure, one.figure)}" for one in significant(evaluation)]
    limit = f"{1 - evaluation.confidence:.2g}"
    text = f"Changed by more than chance (exact McNemar test, Holm's correction, p < {limit}): "
    return [*textwrap.wrap(f"{text}{', '.join(names) or 'no rate'}", 80, subsequent_indent="  "), ""]


def _mean_text(value: float, interval: Interval | None) -> str:
    return nats(value) if interval is None else f"{nats(value)} ({interval.low:.3g}–{interval.high:.3g})"


def _rates_table(evaluation: Evaluation) -> str:
    table: list[list[str]] = []
    named = ""
    for row in rate_rows(evaluation):
        if row.prompts not in SETS:
            continue
        prompts = row.prompts if row.prompts != named else ""
        named = row.prompts
        table.append([prompts, *_cells(row)])
    headers = ["", "test split", *_HEADERS]
    return tabulate(table, headers, "simple", colalign=("left", "left", "right", "right", "right"))


def _extra_tables(evaluation: Evaluation) -> Iterator[str]:
    """Yield a table for each extra set: its name can be long."""
    rows = rate_rows(evaluation)
    for name in evaluation.edited.sets:
        table = [_cells(row) for row in rows if row.prompts == name]
        yield tabulate(table, [name, *_HEADERS], "simple", colalign=("left", "right", "right", "right"))
        yield ""


def _cells(row: RateRow) -> list[str]:
    return [row.figure, interval_text(row.base), interval_text(row.edited), f"{row.edited.n}"]
