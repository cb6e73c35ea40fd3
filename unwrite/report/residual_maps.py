"""The maps of residuals in the page: one chart, and the coordinates of every residual index for its slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.report.curves import MappedPrompt

MOST_POINTS = 150_000
"""Points in a page, over all residual indices: about two megabytes."""


class ResidualMaps(NamedTuple):
    """Maps by residual index.

    Attributes:
        frames: one per position and residual index: `position`, `index`, and the coordinates `x` and `y` of each point.
        groups: the set and split of each point, which are the same on every map.
        prompts: the number of each point's prompt in its split.
        shown, measured: how many prompts the page shows, of how many that were mapped.
    """

    frames: list[dict[str, Any]]
    groups: list[tuple[str, str]]
    prompts: list[int]
    shown: int
    measured: int


def residual_maps(points: Sequence[MappedPrompt], most: int = MOST_POINTS) -> ResidualMaps:
    """Arrange the maps for a page; if they hold more than `most` points, keep every k-th prompt of each set and split.

    Args:
        points: as `read_residual_map` returns them: map by map, each with the same prompts in the same order.
        most: points over all maps.

    Raises:
        UnwriteError: the maps show different prompts.
    """
    places: dict[tuple[int, int], list[MappedPrompt]] = {}
    for point in points:
        places.setdefault((point.position, point.residual_index), []).append(point)
    first = next(iter(places.values()), [])
    prompts = [_prompt(point) for point in first]
    if any([_prompt(point) for point in on_map] != prompts for on_map in places.values()):
        raise UnwriteError("The maps of residuals must show the same prompts. Run `dvc repro -f measure_geometry`.")
    keep = _every(prompts, max(1, -(-len(points) // most)))
    kept = [prompts[place] for place in keep]
    return ResidualMaps(
        frames=[_frame(place, on_map, keep) for place, on_map in places.items()],
        groups=[(name, split) for name, split, _ in kept],
        prompts=[number for *_, number in kept],
        shown=len(kept),
        measured=len(prompts),
    )


def _prompt(point: MappedPrompt) -> tuple[str, str, int]:
    return point.set, point.split, point.prompt


def _every(points: Sequence[tuple[str, str, int]], step: int) -> list[int]:
    """Return the places of every `step`-th prompt of each set and split."""
    seen: dict[tuple[str, str], int] = {}
    keep = []
    for place, (name, split, _) in enumerate(points):
        count = seen.get((name, split), 0)
        if count % step == 0:
            keep.append(place)
        seen[name, split] = count + 1
    return keep


def _frame(place: tuple[int, int], points: Sequence[MappedPrompt], keep: Sequence[int]) -> dict[str, Any]:
    position, index = place
    x, y = ([_short(getattr(points[i], axis)) for i in keep] for axis in ("x", "y"))
    return {"position": position, "index": index, "x": x, "y": y}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
