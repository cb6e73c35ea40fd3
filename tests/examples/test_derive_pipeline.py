"""The pipelines of examples are the project's, and can run in a folder of it without touching the project's own."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from examples.derive_pipeline import EXAMPLES, ROOT, derived_pipeline
from unwrite.schema.params import load_params, source_of

PIPELINE = (ROOT / "dvc.yaml").read_text(encoding="utf-8")


def stages(text: str) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)["stages"]
    return loaded


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_the_committed_pipeline_is_the_derived_one(folder: Path) -> None:
    committed = (folder / "dvc.yaml").read_text(encoding="utf-8")
    assert committed == derived_pipeline(PIPELINE), "run `python -m examples.derive_pipeline`"


def test_the_pipeline_stands_in_one_place() -> None:
    assert [folder / "dvc.yaml" for folder in EXAMPLES if not (folder / "dvc.yaml").is_symlink()] == [
        EXAMPLES[0] / "dvc.yaml"
    ]


def test_every_folder_of_examples_is_derived() -> None:
    assert {path.parent for path in (ROOT / "examples").glob("*/params.yaml")} == set(EXAMPLES)


@pytest.mark.parametrize("name", stages(PIPELINE))
def test_code_lies_two_folders_up_and_everything_else_where_it_was(name: str) -> None:
    ours, derived = stages(PIPELINE)[name], stages(derived_pipeline(PIPELINE))[name]
    code = [dep for dep in ours["deps"] if dep.startswith("unwrite/")]
    assert code
    for dep, moved in zip(ours["deps"], derived["deps"], strict=True):
        assert moved == (f"../../{dep}" if dep in code else dep)
        assert (EXAMPLES[0] / moved).is_file() or dep not in code
    assert derived["cmd"] == f"env PYTHONPATH=../.. {ours['cmd']}"
    changed = {"deps", "cmd"}
    assert {key: ours[key] for key in ours.keys() - changed} == {key: derived[key] for key in derived.keys() - changed}


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_parameters_are_valid_and_name_files_of_the_example(folder: Path) -> None:
    params = load_params(folder / "params.yaml")
    prompts = [source_of(one).source for one in (params.tokenize.target, params.tokenize.baseline)]
    for path in (params.model.source, *prompts, params.judge.markers):
        assert not Path(path).is_absolute()
        assert ".." not in Path(path).parts


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_dvc_project_of_its_own(folder: Path) -> None:
    """So that `dvc status` and `dvc metrics show` in the project's folder leave it out."""
    for name in (".dvc/config", ".dvc/plots/page.html", ".dvc/.gitignore", ".dvcignore"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
