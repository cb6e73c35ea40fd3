"""The figures of the report, each as an SVG element; only the report stage imports them: matplotlib loads slowly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from unwrite.report.curves import GeometryPoint
from unwrite.report.edit_text import LayerRow
from unwrite.report.svg import FIRST, INK, MUTED, SECOND, draw
from unwrite.report.tables import rate_rows
from unwrite.schema.artifacts import SelectedTrial, Trial
from unwrite.schema.evaluation import Evaluation, Share
from unwrite.terms import Component

_WIDTH = 5.2
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", ":", "-.")


def trials_plot(
    trials: Sequence[Trial],
    stopped: Sequence[Trial],
    front: Sequence[Trial],
    selected: Trial | SelectedTrial,
    base_rate: float,
) -> str:
    """Plot behaviour rate against KL divergence of every trial; a divergence of 0 is at the left edge.

    Args:
        trials: trials measured in full.
        stopped: stopped trials, whose rates are lower bounds.
        front: the trials that no other beats.
        selected: the trial of the recipe.
        base_rate: behaviour rate of the base model.
    """
    everything = [*trials, *stopped, *front, selected]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        place = _log_places([trial.kl for trial in everything])
        others = [trial for trial in trials if trial.number not in {t.number for t in front} | {selected.number}]
        _scatter(axes, others, place, label="trial", color=MUTED, marker="o", facecolors="none", s=22)
        if stopped:
            _scatter(axes, stopped, place, label="stopped: at least", color=MUTED, marker="^", facecolors="none", s=16)
        ordered = sorted(front, key=lambda trial: (trial.kl, -trial.behaviour_rate))
        steps = [(place(trial.kl), trial.behaviour_rate) for trial in ordered]
        axes.step([x for x, _ in steps], [y for _, y in steps], where="post", color=FIRST, linewidth=1.2)
        _scatter(axes, ordered, place, label="front", color=FIRST, marker="o", s=28, zorder=3)
        label = f"selected: trial {selected.number}"
        _scatter(axes, [selected], place, label=label, color=SECOND, marker="*", s=190, edgecolors=INK, zorder=4)
        axes.axhline(base_rate, color=INK, linestyle=":", linewidth=1, label="base model")
        _log_axis(axes, [trial.kl for trial in everything])
        zero = any(trial.kl <= 0 for trial in everything)
        axes.set_xlabel("KL divergence (nats)" + (", 0 at the left edge" if zero else ""))
        axes.set_ylabel("behaviour rate")
        axes.set_ylim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5, handletextpad=0.3, columnspacing=0.9)

    return draw(paint, "trials", _WIDTH, 3.4)


def geometry_plot(points: Sequence[GeometryPoint], used: Sequence[float]) -> str:
    """Plot AUC, separation and cosine to the previous direction by residual index, one line per position.

    Args:
        points: the curves; NaN leaves a gap, and infinity a mark at the top.
        used: residual indices that the recipe takes its directions from; marked if there are at most three.
    """

    def paint(figure: Figure) -> None:
        panels: Sequence[Axes] = figure.subplots(3, 1, sharex=True)
        positions = sorted({point.position for point in points})
        named = (
            ("auc", "AUC (0.5: no separation)"),
            ("separation", "separation (Cohen's d, in standard deviations)"),
            ("cosine_to_previous", "cosine to the direction one index before"),
        )
        for axes, (field, title) in zip(panels, named, strict=True):
            axes.set_title(title)
            for order, position in enumerate(positions):
                rows = [point for point in points if point.position == position]
                indices, values = [row.residual_index for row in rows], [float(getattr(row, field)) for row in rows]
                _line_with_gaps(axes, indices, values, order, label=f"position {position}")
            for index in used if len(used) <= 3 else ():
                axes.axvline(index, color=INK, linestyle=":", linewidth=1)
        panels[0].set_ylim(min([0.5, *(p.auc for p in points if math.isfinite(p.auc))]) - 0.03, 1.03)
        panels[-1].set_xlabel("residual index (0 is the embedding)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(positions) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)

    return draw(paint, "geometry", _WIDTH, 4.6)


def kernels_plot(rows: Sequence[LayerRow]) -> str:
    """Plot the strength λ of the recipe by layer, one line per component."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        styles: tuple[tuple[Component, str, str, str, str], ...] = (
            ("attention", FIRST, "o", "-", FIRST),
            ("mlp", SECOND, "s", "--", "none"),
        )
        for component, colour, mark, dash, face in styles:
            points = [(row.layer, strength) for row in rows if (strength := row.strengths[component]) is not None]
            layers, strengths = [layer for layer, _ in points], [strength for _, strength in points]
            label = {"attention": "attention", "mlp": "MLP"}[component]
            axes.plot(layers, strengths, color=colour, marker=mark, linestyle=dash, markerfacecolor=face, label=label)
        axes.axhline(1, color=INK, linestyle=":", linewidth=1, label="1: projected out exactly")
        axes.set_xlabel("layer")
        axes.set_ylabel("strength λ")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=min(0.0, *axes.get_ylim()) - 0.04)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)

    return draw(paint, "kernels", _WIDTH, 2.9)


def rates_plot(evaluation: Evaluation) -> str:
    """Plot every rate before (open) and after (filled) with its interval; the reference ceiling is a vertical bar."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rows, ceiling = rate_rows(evaluation), evaluation.reference_ceiling
        for height, row in enumerate(rows):
            _interval(axes, height - 0.14, row.base, colour=MUTED, filled=False, label="" if height else "base model")
            _interval(
                axes, height + 0.14, row.edited, colour=FIRST, filled=True, label="" if height else "edited model"
            )
            if ceiling is not None and (row.prompts, row.figure) == ("target", "reference accuracy"):
                axes.plot(
                    [ceiling, ceiling], [height - 0.36, height + 0.36], color=SECOND, linewidth=2, label="ceiling"
                )
        axes.set_yticks(range(len(rows)), [f"{row.prompts}\n{row.figure}" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-0.03, 1.03)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlabel("share of responses, with its interval")
        handles, labels = axes.get_legend_handles_labels()
        handles = [
            handles[labels.index(label)] for label in ("base model", "edited model", "ceiling") if label in labels
        ]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1.2)

    return draw(paint, "rates", _WIDTH, 0.9 + 0.5 * len(rate_rows(evaluation)))


def _log_places(divergences: Sequence[float]) -> Callable[[float], float]:
    """Return the place of a divergence on the log axis: 0, or less by rounding, is at half of the smallest above 0."""
    positive = [value for value in divergences if 0 < value < math.inf]
    edge = min(positive) / 2 if positive else 0.0
    return lambda kl: kl if kl > 0 else edge


def _log_axis(axes: Axes, divergences: Sequence[float]) -> None:
    positive = [value for value in divergences if 0 < value < math.inf]
    if not positive:
        return
    axes.set_xscale("log")
    decades = math.log10(max(positive) / min(positive))
    axes.xaxis.set_major_locator(LogLocator(subs=_log_steps(decades)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _log_steps(decades: float) -> tuple[float, ...]:
    """Return the multiples of each power of ten to label: more of them over few decades, but none that overlap."""
    if decades > 3:
        return (1.0,)
    return (1.0, 3.0) if decades > 1.5 else (1.0, 2.0, 5.0)


def _scatter(
    axes: Axes, trials: Sequence[Trial | SelectedTrial], place: Callable[[float], float], **style: object
) -> None:
    x, y = [place(trial.kl) for trial in trials], [trial.behaviour_rate for trial in trials]
    axes.scatter(x, y, **style)  # type: ignore[arg-type]


def _line_with_gaps(axes: Axes, x: Sequence[int], y: Sequence[float], order: int, label: str) -> None:
    colour = (FIRST, SECOND, INK, MUTED)[order % 4]
    finite = [value if math.isfinite(value) else math.nan for value in y]
    axes.plot(
        x, finite, color=colour, linestyle=_DASHES[order % 4], marker=_MARKS[order % 7], markersize=4, label=label
    )
    for index in (i for i, value in zip(x, y, strict=True) if value == math.inf):
        axes.annotate("∞", (index, 1), xycoords=("data", "axes fraction"), ha="center", va="top", color=colour)


def _interval(axes: Axes, height: float, share: Share, *, colour: str, filled: bool, label: str) -> None:
    axes.errorbar(
        share.value,
        height,
        xerr=[[max(0.0, share.value - share.low)], [max(0.0, share.high - share.value)]],
        fmt="o",
        color=colour,
        markerfacecolor=colour if filled else "none",
        capsize=3,
        elinewidth=1.4,
        label=label or "_",
    )
