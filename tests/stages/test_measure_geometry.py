"""The geometry of the finished demo: its files agree with the residuals, and validation residuals decide nothing."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unwrite.errors import UnwriteError
from unwrite.files.tensors import write_tensors
from unwrite.report.curves import read_geometry_rows, read_residual_map
from unwrite.schema.params import Params
from unwrite.stages.compute_directions import compute_directions
from unwrite.stages.measure_geometry import measure_geometry

CURVES, MAP = Path("artifacts/plots/geometry.csv"), Path("artifacts/residual_map.csv")
DIRECTIONS = Path("artifacts/directions.safetensors")


def residuals(name: str) -> torch.Tensor:
    return load_file(f"artifacts/residuals/{name}.safetensors")["residuals"]


def with_settings(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"geometry": params.geometry.model_copy(update=changes)})


def test_there_is_a_row_for_every_position_and_index(project: Path) -> None:
    rows = read_geometry_rows(CURVES)
    assert [(row.position, row.residual_index) for row in rows] == [(p, i) for p in (0, 1) for i in range(7)]
    best = json.loads(Path("artifacts/geometry.json").read_text())["best_separated"]
    assert best["auc"] == max(row.figures["auc_validation"] for row in rows)


def test_the_embedding_of_the_last_template_token_has_neither_direction_nor_map(project: Path) -> None:
    first = read_geometry_rows(CURVES)[0].figures
    assert (first["auc_validation"], first["direction_norm"], first["silhouette_train"]) == (0.5, 0, 0)
    with CURVES.open() as file:
        assert next(csv.DictReader(file))["cosine_to_previous"] == ""
    assert {(p.x, p.y) for p in read_residual_map(MAP) if (p.position, p.residual_index) == (0, 0)} == {(0, 0)}


def test_x_on_the_map_is_the_projection_of_the_winsorized_residual(project: Path, params: Params) -> None:
    tensors = load_file(DIRECTIONS)
    x = residuals("baseline.validation")[:, 0, 4].double()
    limit = x.abs().quantile(params.directions.winsorize.quantile, dim=-1, keepdim=True)
    projected = (x.clamp(-limit, limit) - tensors["baseline_mean"][0, 4].double()) @ tensors["directions"][
        0, 4
    ].double()
    points = [
        p
        for p in read_residual_map(MAP)
        if (p.position, p.residual_index, p.set, p.split) == (0, 4, "baseline", "validation")
    ]
    assert [p.prompt for p in points] == list(range(8))
    assert [p.x for p in points] == pytest.approx(projected.tolist(), rel=1e-3, abs=1e-3)


def test_validation_residuals_change_figures_and_no_direction(project: Path, params: Params) -> None:
    before, curves = DIRECTIONS.read_bytes(), read_geometry_rows(CURVES)
    swapped = {name: residuals(f"{name}.validation") for name in ("target", "baseline")}
    for name, other in (("target", "baseline"), ("baseline", "target")):
        write_tensors(Path(f"artifacts/residuals/{name}.validation.safetensors"), {"residuals": swapped[other]}, {})
    compute_directions(params)
    measure_geometry(params)
    assert DIRECTIONS.read_bytes() == before
    for old, new in zip(curves, read_geometry_rows(CURVES), strict=True):
        assert new.figures["auc_train"] == old.figures["auc_train"]
        assert new.figures["auc_validation"] == pytest.approx(1 - old.figures["auc_validation"])


def test_thinning_is_stated_and_logged(project: Path, params: Params, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    measure_geometry(with_settings(params, map_prompts=5, silhouette_prompts=9))
    geometry = json.loads(Path("artifacts/geometry.json").read_text())
    assert geometry["map"]["target.train"] == {"used": 5, "of": 12}
    assert geometry["silhouette"]["target.train"] == {"used": 9, "of": 12}
    assert geometry["silhouette"]["baseline.validation"] == {"used": 8, "of": 8}
    assert len(read_residual_map(MAP)) == 4 * 5 * 2 * 7
    assert "The maps show 5 prompts of each set and split" in caplog.text


def test_the_same_residuals_give_the_same_files(project: Path, params: Params) -> None:
    before = CURVES.read_bytes(), MAP.read_bytes()
    measure_geometry(params)
    assert (CURVES.read_bytes(), MAP.read_bytes()) == before


def test_a_residual_that_is_not_finite_is_an_expected_error(project: Path, params: Params) -> None:
    broken = residuals("target.validation")
    broken[2, 1, 5, 7] = torch.nan
    write_tensors(Path("artifacts/residuals/target.validation.safetensors"), {"residuals": broken}, {})
    with pytest.raises(UnwriteError, match=r"index 5: .* in 1 of 8 target validation prompts, first in prompt 2\."):
        measure_geometry(params)
