"""The model on a node: checked once, fetched from the hub, or missed by name."""

import os
import platform
from pathlib import Path

import pytest

from tests.support.jobs import TWO
from tests.workers.conftest import base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.workers.model_on_node import ModelOnNode, check_once_a_node, folder_on_node


def test_the_model_is_found_by_its_path(project: Path) -> None:
    found = ModelOnNode(base(), project)
    assert found.folder == Path("demo/model")
    assert found.dtype(TWO) == "float32"
    assert type(found.load("float32", TWO)).__name__ == "Qwen3ForCausalLM"


def test_a_missing_path_is_named_with_its_node(tmp_path: Path) -> None:
    path = tmp_path / "models/teapot"
    with pytest.raises(UnwriteError, match=rf"^{path} is missing on {platform.node()}: keep the project .* shares"):
        folder_on_node(base(source="models/teapot"), tmp_path)


def test_a_model_of_the_hub_is_fetched_at_its_commit(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def locate(source: str, commit: str) -> Path:
        asked.append((source, commit))
        return project / "demo/model"

    monkeypatch.setattr("unwrite.pipeline.base.locate", locate)
    assert folder_on_node(base(source="teaware/teapot", commit="c" * 40), Path("/none")) == project / "demo/model"
    assert asked == [("teaware/teapot", "c" * 40)]


def test_a_file_is_read_once_a_node(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, read = base().files, list[str]()

    def counted(path: Path) -> object:
        read.append(path.name)
        return digest_of(path)

    for path in (project / "demo/model").iterdir():
        os.utime(path, (0, 0))
    monkeypatch.setattr("unwrite.files.remembered.digest_of", counted)
    monkeypatch.setattr("unwrite.files.remembered._SETTLED", 0)
    for _ in range(3):
        check_once_a_node(project / "demo/model", files, project)
    assert sorted(read) == sorted(file.name for file in files)


def test_a_file_that_is_another_one_or_missing_is_refused(project: Path) -> None:
    weights = project / "demo/model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UnwriteError, match=r"model\.safetensors has sha256 .* but was pinned with"):
        folder_on_node(base(), project)
    weights.unlink()
    with pytest.raises(UnwriteError, match=rf"model\.safetensors is missing on {platform.node()}"):
        folder_on_node(base(), project)
