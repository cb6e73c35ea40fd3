"""The results as text: how rates are written, and the tables they are in."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Base
from unwrite.schema.evaluation import Evaluation, Share
from unwrite.schema.paths import MODEL, REPORT

FIGURES = {
    "behaviour_rate": "behaviour rate",
    "degenerate_rate": "degenerate rate",
    "cut_rate": "cut at the limit",
    "reference_accuracy": "reference accuracy",
}


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
    """Return every rate that was measured, target prompts first; reference accuracy only where there are references."""
    rows = []
    for prompts in ("target", "baseline"):
        before, after = getattr(evaluation.base, prompts), getattr(evaluation.edited, prompts)
        for field, figure in FIGURES.items():
            base, edited = getattr(before, field), getattr(after, field)
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
    lines = [_rates_table(evaluation), ""]
    if evaluation.reference_ceiling is not None:
        known = percent(evaluation.reference_ceiling)
        lines += [f"Best possible target reference accuracy (before the behaviour was added): {known}"]
    lines += [
        "KL divergence from the base model, on baseline prompts:",
        f"  {nats(evaluation.kl_first_token)} at the first response token",
        f"  {nats(evaluation.kl_response)} averaged over the first response tokens",
    ]
    return "\n".join(lines)


def _rates_table(evaluation: Evaluation) -> str:
    table: list[list[str]] = []
    named = ""
    for row in rate_rows(evaluation):
        prompts = row.prompts if row.prompts != named else ""
        named = row.prompts
        table.append([prompts, row.figure, interval_text(row.base), interval_text(row.edited), f"{row.edited.n}"])
    headers = ["", "test split", "base model", "edited model", "n"]
    return tabulate(table, headers, "simple", colalign=("left", "left", "right", "right", "right"))
