"""A project with directions of the demo model, and parameters for searching it in float32."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from tests.support.small_project import ROOT, small_params
from unwrite.editing.recipe import edit_settings
from unwrite.schema.artifacts import Base
from unwrite.schema.params import Params
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import Objective, prepare_objective
from unwrite.stages.compute_directions import compute_directions
from unwrite.stages.extract_residuals import extract
from unwrite.stages.filter_prompts import filter_prompts
from unwrite.stages.list_inputs import list_inputs
from unwrite.stages.pin_model import pin_model
from unwrite.stages.tokenize_prompts import tokenize_prompts


def float32() -> Params:
    """Small parameters that compute in float32 and leave the backend open."""
    params = small_params()
    return params.model_copy(
        update={
            "model": params.model.model_copy(update={"dtype": "float32"}),
            "runtime": params.runtime.model_copy(update={"backend": "auto"}),
        }
    )


def with_runtime(**changes: object) -> Params:
    """The same with changes to the section `runtime`."""
    params = float32()
    return params.model_copy(update={"runtime": params.runtime.model_copy(update=changes)})


def prepared(params: Params, base: Base, earlier: BackendChoice | None = None) -> Objective:
    """Return the objective of the project in the current folder."""
    settings = edit_settings(params.optimize, "projected")
    return prepare_objective(read_inputs(params, base), params.optimize, settings, params.runtime, earlier=earlier)


@pytest.fixture(scope="session")
def directions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with directions."""
    folder = tmp_path_factory.mktemp("directions")
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    shutil.copytree(ROOT / "demo/model", folder / "demo/model")
    with chdir(folder):
        for stage in (list_inputs, pin_model, tokenize_prompts, extract, filter_prompts, compute_directions):
            stage(float32())
    return folder


@pytest.fixture
def demo_project(directions: Path) -> Iterator[Path]:
    """The project with directions as the current folder, which tests must not change."""
    with chdir(directions):
        yield directions
