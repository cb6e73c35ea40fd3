"""Layers and the directions they are edited with."""

import pytest

from unwrite.core.layer_directions import residual_index, span_source


def test_the_source_of_a_layer_is_that_of_its_span() -> None:
    spans = [(23, 11, 23), (29, 24, 41)]  # Lai 2025
    assert [span_source(spans, layer) for layer in (10, 11, 23, 24, 41, 42)] == [None, 23, 23, 29, 29, None]
    with pytest.raises(ValueError, match=r"got layer 24 in the spans of sources \[23, 29\]"):
        span_source([(23, 11, 24), (29, 24, 41)], 24)


def test_the_residual_index_of_a_layer_is_that_of_its_output() -> None:
    assert [residual_index(layer) for layer in range(3)] == [1, 2, 3]
