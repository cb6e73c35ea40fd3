"""The copies of a project that `make bench` measures growth on are projects that a search can read."""

import shutil
from pathlib import Path

from benchmarks.projects import deeper_demo, fewer_prompts
from tests.support.small_project import ROOT
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import load_params
from unwrite.search.inputs import read_inputs


def test_a_copy_with_fewer_prompts(project: Path) -> None:
    shutil.copy(ROOT / "params.yaml", project)
    with fewer_prompts(3):
        inputs = read_inputs(load_params(), read_base())
    assert (len(inputs.target), len(inputs.baseline)) == (3, 3)
    assert Path.cwd() == project


def test_a_copy_with_twice_as_many_layers(project: Path) -> None:
    shutil.copy(ROOT / "params.yaml", project)
    layers = read_base().layers
    with deeper_demo():
        inputs = read_inputs(load_params(), read_base())
    assert inputs.base.layers == 2 * layers
    assert inputs.directions.shape[1] == 2 * layers + 1
