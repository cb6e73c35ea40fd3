"""The triangular profile over the layers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.kernel import kernel_weight


@pytest.mark.parametrize(
    ("layer", "expected"), [(0, 0.0), (1, 0.0), (2, 0.2), (3, 0.6), (4, 1.0), (5, 0.6), (6, 0.2), (7, 0.0)]
)
def test_the_kernel_is_triangular(layer: int, expected: float) -> None:
    weight = kernel_weight(layer, max_weight=1.0, max_weight_position=4, min_weight=0.2, min_weight_distance=2)
    assert weight == pytest.approx(expected, abs=1e-15)


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(st.integers(0, 40), st.floats(0.5, 2), st.floats(0, 40), st.floats(0, 0.5), st.floats(0.1, 30))
def test_weights_are_between_minimum_and_maximum_inside_and_zero_outside(
    layer: int, largest: float, peak: float, smallest: float, distance: float
) -> None:
    weight = kernel_weight(
        layer, max_weight=largest, max_weight_position=peak, min_weight=smallest, min_weight_distance=distance
    )
    if abs(layer - peak) > distance:
        assert weight == 0
    else:
        assert smallest - 1e-12 <= weight <= largest + 1e-12


def test_a_peak_between_two_layers_is_symmetric() -> None:
    left, right = (
        kernel_weight(layer, max_weight=1.5, max_weight_position=3.5, min_weight=0, min_weight_distance=2)
        for layer in (3, 4)
    )
    assert left == right == 1.125


def test_distance_zero_edits_only_the_peak() -> None:
    weights = [
        kernel_weight(layer, max_weight=1.5, max_weight_position=2, min_weight=0.5, min_weight_distance=0)
        for layer in range(4)
    ]
    assert weights == [0, 0, 1.5, 0]


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="min_weight_distance must be at least 0, got -1"):
        kernel_weight(0, max_weight=1, max_weight_position=0, min_weight=0, min_weight_distance=-1)


@given(st.floats(0.1, 2), st.floats(0, 5), st.floats(0.5, 5))
def test_the_weight_at_the_minimum_distance_is_exactly_the_minimum(
    maximum: float, minimum: float, distance: float
) -> None:
    """A minimum of 0 must not become 5e-17: the recipe would list a no-op edit."""
    weight = kernel_weight(
        0, max_weight=maximum, max_weight_position=distance, min_weight=minimum, min_weight_distance=distance
    )
    assert weight == minimum
