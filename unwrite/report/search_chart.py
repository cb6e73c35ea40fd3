"""The chart of the search: every trial by KL divergence and behaviour rate, the front, and the chosen trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import altair as alt

from unwrite.report.chart_style import FIRST, INK, MUTED, PERCENT, SECOND, THIRD, finite
from unwrite.schema.artifacts import Front, Kernel, SelectedTrial, Trial, TrialParameters

TRIAL, STOPPED_TRIAL, ON_FRONT = "trial", "stopped: at least this rate", "front"
ONE_SHOT, SELECTED = "one-shot baseline", "selected"
_STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"
_KINDS = {  # colour, shape, size; the later are drawn over the earlier
    TRIAL: (MUTED, "circle", 30),
    STOPPED_TRIAL: (MUTED, "triangle-up", 30),
    ON_FRONT: (FIRST, "circle", 55),
    ONE_SHOT: (THIRD, "diamond", 110),
    SELECTED: (SECOND, _STAR, 190),
}


def trial_rows(
    trials: Sequence[Trial], stopped: Sequence[Trial], front: Front, selected: SelectedTrial
) -> list[dict[str, Any]]:
    """Return one row per trial, with what it is in the chart and its parameters in words; the selected one is last.

    Args:
        trials: trials measured in full.
        stopped: stopped trials, whose rates are lower bounds.
        front: the trials that no other beats, and the one-shot baseline.
        selected: the trial of the recipe.
    """
    kinds = {trial.number: TRIAL for trial in trials} | {trial.number: STOPPED_TRIAL for trial in stopped}
    kinds |= {trial.number: ON_FRONT for trial in front.trials}
    if front.one_shot is not None:
        kinds[front.one_shot.number] = ONE_SHOT
    kinds[selected.number] = SELECTED
    everything = {trial.number: trial for trial in (*trials, *stopped, *front.trials)}
    if front.one_shot is not None:
        everything.setdefault(front.one_shot.number, front.one_shot)
    place = log_places([trial.kl for trial in everything.values()])
    rows = [
        {
            "number": trial.number,
            "kind": kinds[trial.number],
            "size": _KINDS[kinds[trial.number]][2],
            "kl": finite(trial.kl),
            "place": finite(place(trial.kl)),
            "behaviour_rate": finite(trial.behaviour_rate),
            **_in_words(trial.parameters),
        }
        for trial in everything.values()
    ]
    return sorted(rows, key=lambda row: (list(_KINDS).index(row["kind"]), row["number"]))


def front_steps(front: Sequence[Trial]) -> Iterator[Trial]:
    """Yield the trials of a front from the smallest divergence on, leaving out any that another beats."""
    best = math.inf
    for trial in sorted(front, key=lambda trial: (trial.kl, trial.behaviour_rate)):
        if trial.behaviour_rate < best:
            best = trial.behaviour_rate
            yield trial


def search_chart(rows: Sequence[dict[str, Any]], front: Front) -> alt.TopLevelMixin:
    """Chart behaviour rate against KL divergence of every trial; a divergence of 0 is at the left edge.

    Args:
        rows: as `trial_rows` returns them.
        front: the trials that no other beats; its step line shows what can be had.
    """
    known = [row["kl"] for row in rows]
    place = log_places(known)
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    zero = any(kl <= 0 for kl in known)
    x = alt.X(
        "place:Q",
        title="KL divergence (nats)" + (", 0 at the left edge" if zero else ""),
        scale=alt.Scale(type="log", nice=False, padding=14) if any(kl > 0 for kl in known) else alt.Undefined,
        axis=alt.Axis(format="~g", tickCount=6, grid=False),
    )
    rate = alt.Axis(labelExpr=PERCENT, tickCount=5)
    y = alt.Y("behaviour_rate:Q", title="behaviour rate", scale=alt.Scale(domain=[0, 1]), axis=rate)
    scales = {
        "color": alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[kind][0] for kind in kinds])),
        "shape": alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[kind][1] for kind in kinds])),
        "size": alt.Size("size:Q", scale=None, legend=None),
    }
    points = (
        alt.Chart(alt.InlineData(values=list(rows)))
        .mark_point(filled=True, opacity=0.9, clip=False)
        .encode(x=x, y=y, tooltip=_TOOLTIP, **scales)
    )
    steps = [
        {"place": finite(place(trial.kl)), "behaviour_rate": trial.behaviour_rate}
        for trial in front_steps(front.trials)
    ]
    line = alt.Chart(alt.InlineData(values=steps)).mark_line(interpolate="step-after", color=FIRST, strokeWidth=1.2)
    base = [{"behaviour_rate": front.base_behaviour_rate}]
    rule = alt.Chart(alt.InlineData(values=base)).mark_rule(strokeDash=[2, 3], color=INK)
    return alt.layer(rule.encode(y=y), line.encode(x=x, y=y), points).properties(height=300)


def log_places(divergences: Sequence[float]) -> Callable[[float], float]:
    """Return the place of a divergence on the log axis: 0, or less by rounding, is at half of the smallest above 0."""
    positive = [value for value in divergences if 0 < value < math.inf]
    edge = min(positive) / 2 if positive else 0.0
    return lambda kl: kl if kl > 0 else edge


def _in_words(parameters: TrialParameters) -> dict[str, str]:
    scope = {
        "global": f"one for all layers, at residual index {parameters.direction_index:.2f}",
        "per_layer": "each layer's own",
        "spans": "by spans of layers",
    }[parameters.direction_scope]
    return {
        "direction": scope,
        "attention": _kernel_words(parameters.attention),
        "mlp": _kernel_words(parameters.mlp),
    }


def _kernel_words(kernel: Kernel) -> str:
    if kernel.max_weight <= 0:
        return "not edited"
    return (
        f"{kernel.max_weight:.2f} at layer {kernel.max_weight_position:.1f}, "
        f"{kernel.min_weight:.2f} at a distance of {kernel.min_weight_distance:.1f}"
    )


_TOOLTIP = [
    alt.Tooltip("number:Q", title="trial"),
    alt.Tooltip("kind:N", title="is"),
    alt.Tooltip("behaviour_rate:Q", title="behaviour rate", format=".1%"),
    alt.Tooltip("kl:Q", title="KL (nats)", format=".3g"),
    alt.Tooltip("direction:N", title="direction"),
    alt.Tooltip("attention:N", title="attention λ"),
    alt.Tooltip("mlp:N", title="MLP λ"),
]
