"""The stage writes what `pin_base` returns for the section `model`, or nothing."""

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_project import ROOT
from unwrite.errors import UnwriteError
from unwrite.pipeline.pinning import pin_base
from unwrite.schema.artifacts import Base, read_base
from unwrite.schema.params import Params
from unwrite.stages import pin_model as stage
from unwrite.stages.pin_model import pin_model

MODEL = Path("demo/model")
BASE = Path("artifacts/base.json")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with the demo model and nothing else, which is the current one."""
    shutil.copytree(ROOT / MODEL, tmp_path / MODEL)
    with chdir(tmp_path):
        yield tmp_path


def test_base_json_holds_the_pinned_model(project: Path, params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    pin_model(params)
    assert read_base() == pin_base(str(MODEL))
    files = len([path for path in MODEL.iterdir() if path.name != "README.md"])
    assert f": 6 layers, 12 writers, {files} files pinned." in capsys.readouterr().err


def test_every_setting_of_the_section_is_passed_on(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"dtype": "float32", "quantization": "nf4", "allow_incomplete": True}
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def pin(*args: Any, **kwargs: Any) -> Base:
        asked.append((args, kwargs))
        return pin_base(*args, **kwargs)

    monkeypatch.setattr(stage, "pin_base", pin)
    pin_model(params.model_copy(update={"model": params.model.model_copy(update=settings)}))
    assert asked == [((str(MODEL), None), settings)]
    assert set(type(params.model).model_fields) == {"source", "revision", *settings}
    assert (read_base().compute_dtype, read_base().quantization) == ("float32", "nf4")


def test_a_refused_model_leaves_no_record(project: Path, params: Params) -> None:
    shutil.rmtree(MODEL)
    with pytest.raises(UnwriteError, match="there is no such folder"):
        pin_model(params)
    assert not BASE.exists()
