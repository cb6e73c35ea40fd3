"""Maps of residuals for a page: every prompt on every map, or every k-th of each set and split."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.report_pages import sample_maps
from unwrite.errors import UnwriteError
from unwrite.report.residual_maps import residual_maps


def test_every_map_has_every_prompt() -> None:
    points = sample_maps(prompts=6, indices=3)
    maps = residual_maps(points)
    assert [frame["index"] for frame in maps.frames] == [0, 1, 2]
    assert (maps.shown, maps.measured) == (24, 24)
    assert maps.frames[2]["x"][7] == pytest.approx(points[2 * 24 + 7].x, rel=1e-3)
    assert maps.groups[7] == (points[7].set, points[7].split)
    assert maps.prompts[7] == points[7].prompt


@pytest.mark.parametrize("most", [1, 24, 36, 71])
def test_large_maps_are_thinned_out_evenly(most: int) -> None:
    maps = residual_maps(sample_maps(prompts=6, indices=3), most)
    assert maps.shown < maps.measured == 24
    assert len(set(Counter(maps.groups).values())) == 1  # as many of each set and split
    assert all(len(frame["x"]) == len(frame["y"]) == maps.shown for frame in maps.frames)
    assert maps.shown * 3 <= most or maps.shown == 4  # one of each set and split stays


def test_maps_of_different_prompts_are_refused() -> None:
    points = sample_maps(prompts=2, indices=2)
    with pytest.raises(UnwriteError, match="measure_geometry"):
        residual_maps(points[:-1])


def test_no_maps_are_no_frames() -> None:
    assert residual_maps([]).frames == []
