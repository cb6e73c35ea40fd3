"""The curves as they are read back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.report.curves import (
    MappedPrompt,
    read_geometry_rows,
    read_residual_map,
)
from unwrite.schema.geometry_records import GEOMETRY_FIGURES

MAP = "position,residual_index,set,split,prompt,x,y"


def row(position: int, index: int, **figures: str) -> str:
    """A row in which every figure that is not given is 9."""
    return ",".join([str(position), str(index), *(dict.fromkeys(GEOMETRY_FIGURES, "9") | figures).values()])


def written(path: Path, *rows: str) -> Path:
    path.write_text("\n".join([",".join(["position", "residual_index", *GEOMETRY_FIGURES]), *rows]) + "\n")
    return path


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    one = row(0, 3, separation_validation="inf", auc_validation="0.75", cosine_to_previous="0.5")
    path = written(tmp_path / "geometry.csv", one, row(1, 0, separation_validation=""))
    first, second = read_geometry_rows(path)
    assert (first.position, first.residual_index) == (0, 3)
    assert (first.figures["separation_validation"], first.figures["auc_validation"]) == (math.inf, 0.75)
    assert (second.position, math.isnan(second.figures["separation_validation"])) == (1, True)
    assert [r.figures["auc_train"] for r in (first, second)] == [9, 9]


@pytest.mark.parametrize("bad", [row(0, 0).replace("0", "zero", 1), row(0, 0, auc_train="much")])
def test_another_format_is_an_expected_error(tmp_path: Path, bad: str) -> None:
    with pytest.raises(UnwriteError, match="dvc repro -f measure_geometry"):
        read_geometry_rows(written(tmp_path / "geometry.csv", bad))


def test_missing_column_is_an_expected_error(tmp_path: Path) -> None:
    path = tmp_path / "geometry.csv"
    path.write_text("position,residual_index\n0,0\n")
    with pytest.raises(UnwriteError, match="dvc repro -f measure_geometry"):
        read_geometry_rows(path)


def test_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "residual_map.csv"
    path.write_text(f"{MAP}\n0,3,target,train,17,-1.5,2e-05\n")
    assert read_residual_map(path) == [MappedPrompt(0, 3, "target", "train", 17, -1.5, 2e-5)]
    path.write_text(f"{MAP}\n0,3,target,train,17,left,0\n")
    with pytest.raises(UnwriteError, match="dvc repro -f measure_geometry"):
        read_residual_map(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"geometry\.csv is missing"):
        read_geometry_rows(tmp_path / "geometry.csv")
