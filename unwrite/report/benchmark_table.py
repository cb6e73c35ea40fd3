"""The benchmarks as text: each figure before and after the edit, and the difference with its standard error."""

from __future__ import annotations

from tabulate import tabulate

from unwrite.schema.evaluation import Benchmark, Benchmarks


def benchmarks_text(benchmarks: Benchmarks) -> str:
    """Return the table of all benchmarks, for a terminal of 80 columns; empty if there are none."""
    if not benchmarks.scores:
        return ""
    rows = [
        [
            score.task,
            figure_name(score),
            with_error(score.base, score.base_error),
            with_error(score.edited, score.edited_error),
            with_error(score.difference, score.difference_error, sign="+"),
            str(score.n),
        ]
        for score in benchmarks.scores
    ]
    headers = ["benchmark", "figure", "base model", "edited model", "difference", "n"]
    table = tabulate(rows, headers, "simple", disable_numparse=True, colalign=("left", "left", *["right"] * 4))
    return f"{table}\n±: standard error, paired for differences. lm-evaluation-harness {benchmarks.harness}"


def figure_name(score: Benchmark) -> str:
    """Return the name of a figure, with the harness's filter if it is not the trivial one."""
    return score.figure if score.selection == "none" else f"{score.figure} ({score.selection})"


def with_error(value: float | None, error: float | None, sign: str = "") -> str:
    """Return a figure with its standard error: "0.714 ± 0.018"; a dash stands for none.

    Args:
        value: the figure.
        error: its standard error.
        sign: "+" to sign positive numbers too.
    """
    if value is None:
        return "–"
    return f"{value:{sign}.3f}" + ("" if error is None else f" ± {error:.3f}")
