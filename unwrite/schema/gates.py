"""Gates: bounds on figures of the evaluation, such as `edited.target.behaviour_rate.high <= 0.1`."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import NamedTuple

from unwrite.terms import MODELS, SETS

GATED_RATES = ("behaviour_rate", "degenerate_rate", "cut_rate", "reference_accuracy")
"""The rates of a prompt set that have an interval."""

DIVERGENCES = ("kl_first_token", "kl_response")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_GATE = re.compile(r"\s*([\w.]+)\s*(<=|>=|<|>)\s*(\S+)\s*")


class Bound(NamedTuple):
    """What a gate demands: a figure by its path, a comparison, and a number."""

    figure: str
    comparison: str
    number: float

    def holds(self, value: float) -> bool:
        """Return whether a value of the figure keeps the bound."""
        return _COMPARE[self.comparison](value, self.number)

    def __str__(self) -> str:
        """Return the bound as it is written, without the figure: "<= 0.1"."""
        return f"{self.comparison} {self.number:.15g}"


def parse_gate(text: str) -> Bound:
    """Parse a gate.

    Args:
        text: such as "kl_response <= 0.2".

    Raises:
        ValueError: it is not a figure, one of <=, >=, < and >, and a finite number.
    """
    match = _GATE.fullmatch(text)
    try:
        number = float(match[3]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or not math.isfinite(number):
        raise ValueError("must be a figure, one of <= >= < >, and a number, such as kl_response <= 0.2")
    return Bound(match[1], match[2], number)


def gate_figures(extra_sets: Iterable[str]) -> list[str]:
    """Return every figure that a gate can name.

    A rate and a divergence stand for their values; `.low` and `.high` after them for the ends of their intervals.

    Args:
        extra_sets: names of the extra prompt sets.
    """
    ends = ("", ".low", ".high")
    figures = [f"{name}{end}" for name in DIVERGENCES for end in ends]
    for model in MODELS:
        for prompts in (*SETS, *extra_sets):
            figures += [f"{model}.{prompts}.{rate}{end}" for rate in GATED_RATES for end in ends]
            figures.append(f"{model}.{prompts}.mean_tokens")
    return figures


def check_gate_figure(figure: str, extra_sets: Iterable[str]) -> None:
    """Check that a gate names a figure of the evaluation.

    Args:
        figure: the path of the figure.
        extra_sets: names of the extra prompt sets.

    Raises:
        ValueError: there is no such figure; the message names the nearest.
    """
    known = gate_figures(extra_sets)
    if figure in known:
        return
    near = difflib.get_close_matches(figure, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "such as edited.target.behaviour_rate.high"
    raise ValueError(f"must name a figure of the evaluation ({hint})")


def best_end(figure: str, prompts: int, confidence: float) -> float | None:
    """Return the best that an end of a rate's interval can be, whatever the model does.

    The upper end of the Wilson interval of 0 of n is z² / (n + z²), and the lower end of n of n is n / (n + z²): Wilson
    1927, with z the normal quantile at 1 − (1 − confidence) / 2.

    Args:
        figure: the path of a figure, of a set of that many prompts.
        prompts: n, at least 1.
        confidence: of the interval, between 0 and 1.

    Returns:
        The lowest upper end for `.high`, the highest lower end for `.low`; None for a figure that is not the end of a
        rate's interval.
    """
    path, _, end = figure.rpartition(".")
    if not path.endswith(GATED_RATES):
        return None
    z_squared = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    return (z_squared if end == "high" else prompts) / (prompts + z_squared)
