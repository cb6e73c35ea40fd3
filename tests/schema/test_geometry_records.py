"""The geometry's figures: each name once, and a record that refuses what is not a number."""

import pytest
from pydantic import ValidationError

from unwrite.schema.geometry_records import GEOMETRY_FIGURES, SeparatedIndex


def test_no_figure_has_two_columns() -> None:
    assert len(set(GEOMETRY_FIGURES)) == len(GEOMETRY_FIGURES)
    medians = {name.removeprefix("median_") for name in GEOMETRY_FIGURES if name.startswith("median_")}
    assert medians == {name.removeprefix("mean_") for name in GEOMETRY_FIGURES if name.startswith("mean_")}


def test_an_infinite_separation_must_be_null() -> None:
    fields = {"position": 0, "residual_index": 3, "auc": 1.0, "auc_train": 1.0, "silhouette": None}
    assert SeparatedIndex(separation=None, **fields).separation is None
    with pytest.raises(ValidationError, match="finite"):
        SeparatedIndex(separation=float("inf"), **fields)
