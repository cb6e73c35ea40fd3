"""The stored direction for a layer: its residual index, and the table of spans."""

from collections.abc import Sequence

from unwrite.terms import LayerSpan


def residual_index(layer: int) -> int:
    """Return the residual index of a layer's output: layer + 1, as index 0 is the input of layer 0."""
    return layer + 1


def span_source(spans: Sequence[LayerSpan], layer: int) -> int | None:
    """Return the layer whose direction a layer is edited with, by a table of spans (Lai 2025: 23 → 11–23, 29 → 24–41).

    Args:
        spans: (source layer, first layer, last layer), both ends included.
        layer: the layer's number, from 0.

    Returns:
        The source layer; None for a layer outside all spans, which is not edited.

    Raises:
        ValueError: two spans contain the layer.
    """
    sources = [source for source, first, last in spans if first <= layer <= last]
    if len(sources) > 1:
        raise ValueError(f"spans must not overlap, got layer {layer} in the spans of sources {sources}")
    return sources[0] if sources else None
