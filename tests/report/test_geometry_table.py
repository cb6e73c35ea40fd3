"""The table fits a terminal whatever the figures are, and says what is unknown."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.errors import UnwriteError
from unwrite.report.curves import GeometryRow
from unwrite.report.geometry_table import at_position, geometry_table
from unwrite.schema.geometry_records import GEOMETRY_FIGURES

QUICK = settings(deadline=None, derandomize=True, max_examples=40, database=None)
NORM = st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf, 0.0])


def row(position: int = 0, index: int = 0, value: float = 0.5, **figures: float) -> GeometryRow:
    return GeometryRow(position, index, dict.fromkeys(GEOMETRY_FIGURES, value) | figures)


def figure(name: str, number: float) -> float:
    """A value that this figure can have: cosines and shares are bounded."""
    if "norm" in name or "largest" in name or "separation" in name or math.isnan(number):
        return number
    low = 0 if "auc" in name or "share" in name else -1
    return max(low, 1 - 1 / (1 + min(number, 1e9)) - 0.5 * (low < 0) * 2)


@QUICK
@given(NORM, st.sampled_from(["mean", "median"]))
def test_no_line_is_longer_than_120_columns(number: float, center: str) -> None:
    rows = [
        GeometryRow(9, index, {name: figure(name, number) for name in GEOMETRY_FIGURES} | {"winsorized_share": 1.0})
        for index in (0, 127)
    ]
    text = geometry_table(rows, "mean" if center == "mean" else "median")
    assert max(map(len, text.splitlines())) <= 120


def test_unknown_and_infinite_figures_are_shown_as_such() -> None:
    unknown = geometry_table([row(cosine_to_previous=math.nan)], "mean").splitlines()[1]
    assert unknown.count("–") == 1
    assert "∞" in geometry_table([row(separation_validation=math.inf)], "mean").splitlines()[1]
    assert "nan" not in geometry_table([row(value=math.nan)], "mean").splitlines()[1]
    assert "-0.00" not in geometry_table([row(mean_cosine_baseline_direction=-1e-9)], "mean")


def test_the_center_is_the_one_asked_for() -> None:
    both = [row(mean_target_norm=111.0, median_target_norm=222.0)]
    mean, median = geometry_table(both, "mean"), geometry_table(both, "median")
    assert ("111" in mean, "222" in mean, "arithmetic mean" in mean) == (True, False, True)
    assert ("111" in median, "222" in median, "geometric median" in median) == (False, True, True)


def test_positions_have_tables_of_their_own_and_one_can_be_chosen() -> None:
    rows = [row(position, index) for position in (0, 1) for index in (0, 1, 2)]
    assert "Position 1 of residuals.positions" in geometry_table(rows, "mean")
    assert "Position" not in geometry_table(at_position(rows, 1), "mean")
    assert at_position(rows, None) == rows
    with pytest.raises(UnwriteError, match=r"must be one of 0, 1, got 2\."):
        at_position(rows, 2)
