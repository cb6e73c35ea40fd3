"""Later stages get the pinned folder only while every file in it is the one that was pinned."""

from pathlib import Path

import pytest

from tests.support.samples import sample_base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.pipeline.base import pinned_folder
from unwrite.schema.artifacts import Base, as_json
from unwrite.schema.paths import BASE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def pin(folder: Path) -> Base:
    files = [digest_of(path) for path in sorted(folder.iterdir())]
    base = sample_base(source="model", commit=None, files=files)
    write_json(BASE, as_json(base))
    return base


def test_pinned_folder_is_found_from_the_record(folder: Path) -> None:
    base = pin(folder)
    assert pinned_folder(base).resolve() == folder


def test_a_changed_file_is_named(folder: Path) -> None:
    base = pin(folder)
    (folder / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(UnwriteError, match=r"model.safetensors has sha256 .* was pinned with"):
        pinned_folder(base)


def test_a_removed_file_is_named(folder: Path) -> None:
    base = pin(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UnwriteError, match=r"config.json is missing, but the model was pinned with it"):
        pinned_folder(base)


def test_a_removed_folder_is_named(folder: Path) -> None:
    base = pin(folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UnwriteError, match="'model': there is no such folder"):
        pinned_folder(base)
