"""Findings are values: immutable, and equal if their fields are equal."""

from __future__ import annotations

import pytest

from unwrite.models.discovery.findings import FoundNorm, FoundWriter


def writer(multiplier: float | None = 1.0) -> FoundWriter:
    norms = (FoundNorm("layers.0.norm", "layers.0.norm.weight", 1.0),)
    return FoundWriter("layers.0.mlp", "layers.0.mlp.weight", 0, 1, None, 0, 0, "mlp", multiplier, norms)


def test_a_writer_is_immutable_and_compares_by_its_fields() -> None:
    assert {writer(), writer()} == {writer()}
    assert writer(None) != writer()
    assert writer().shared_layers == ()
    with pytest.raises(AttributeError):
        writer().axis = 1  # type: ignore[misc]
