"""The paths in the code are the ones in dvc.yaml."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from unwrite.schema import paths

ROOT = Path(__file__).parents[2]
PATHS = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}


@pytest.mark.parametrize("name", PATHS)
def test_every_path_in_the_code_is_an_output_in_dvc_yaml(name: str) -> None:
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    entries = [entry for stage in stages for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    outs = {Path(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries}
    assert any(PATHS[name].is_relative_to(out) or out.is_relative_to(PATHS[name]) for out in outs)
