"""Times follow from a measured pass: reading in proportion to tokens, decoding by a constant and a share per row."""

from __future__ import annotations

from itertools import count

import pytest

from tests.support.tiny import tiny_config, tiny_model
from unwrite.planning.speed import LENGTH, ROWS, STEPS, Speed, measure_speed
from unwrite.planning.stage_needs import Passes

SPEED = Speed(per_read_token=0.5, one_row=2.0, rows=2.0 + 0.25 * (ROWS - 1))


@pytest.mark.parametrize(
    ("passes", "seconds"),
    [
        (Passes(), 0),
        (Passes(read=10), 5),
        (Passes(generated=((1, 3),)), 6),
        (Passes(generated=((5, 3),)), 3 * (2 + 4 * 0.25)),
        (Passes(read=10, generated=((1, 3), (5, 3))).times(2), 2 * (5 + 6 + 9)),
        (Passes(generated=((0, 100),)), 0),
    ],
)
def test_seconds_of_passes(passes: Passes, seconds: float) -> None:
    assert SPEED.seconds(passes) == pytest.approx(seconds)


def test_rows_that_cost_nothing_more_are_not_counted_as_a_gain() -> None:
    assert SPEED._replace(rows=1.0).seconds(Passes(generated=((100, 1),))) == 2


def test_a_model_is_timed_per_token_and_per_step() -> None:
    ticks = count()
    speed = measure_speed(tiny_model(tiny_config("llama")), lambda: next(ticks))
    assert speed == Speed(1 / (ROWS * LENGTH), 1 / STEPS, 1 / STEPS)
