"""The curves as they are read back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.report.curves import GeometryPoint, read_geometry

HEADER = "position,residual_index,difference_norm,relative_norm,cosine_to_baseline,separation,auc,cosine_to_previous"


def written(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "geometry.csv", "0,3,9,9,9,inf,0.75,0.5", "1,0,9,9,9,nan,0.5,0")
    first, second = read_geometry(path)
    assert first == GeometryPoint(position=0, residual_index=3, auc=0.75, separation=math.inf, cosine_to_previous=0.5)
    assert (second.position, math.isnan(second.separation)) == (1, True)


@pytest.mark.parametrize("row", ["zero,0,1,1,1,1,1,1", "0,0,1,1,1,much,1,1"])
def test_another_format_is_an_expected_error(tmp_path: Path, row: str) -> None:
    with pytest.raises(UnwriteError, match="dvc repro -f compute_directions"):
        read_geometry(written(tmp_path / "geometry.csv", row))


def test_missing_column_is_an_expected_error(tmp_path: Path) -> None:
    path = tmp_path / "geometry.csv"
    path.write_text("position,residual_index\n0,0\n")
    with pytest.raises(UnwriteError, match="dvc repro -f compute_directions"):
        read_geometry(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"geometry\.csv is missing"):
        read_geometry(tmp_path / "geometry.csv")
