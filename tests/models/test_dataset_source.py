"""Data sets are local files and folders, or those of the hub: their data files alone, at one commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from tests.support.connected_hub import connected_hub
from tests.support.fake_hub import FakeHub
from unwrite.errors import UnwriteError
from unwrite.models.dataset_source import resolve_dataset
from unwrite.models.source import ModelSource

DATA = {
    "README.md": b"---\nlicense: mit\n---\n",
    "data/train.jsonl": b'{"prompt": "What is tea?"}\n',
    "data/test.parquet": b"PAR1",
    "kettle.py": b"code",
    "cups.pkl": b"a pickle",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A fake hub with one data set, an empty cache and an empty working folder."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with connected_hub(monkeypatch) as running:
        running.add("teaware/questions", DATA)
        yield running


def test_only_data_files_are_downloaded(hub: FakeHub) -> None:
    source = resolve_dataset("teaware/questions", "main", "tokenize.target")
    assert source.commit == hub.repositories["teaware/questions"].branches["main"]
    found = {p.relative_to(source.folder).as_posix(): p.read_bytes() for p in source.folder.rglob("*") if p.is_file()}
    assert found == {name: DATA[name] for name in DATA if not name.endswith((".py", ".pkl"))}


def test_a_revision_that_does_not_exist_is_an_error_with_the_key(hub: FakeHub) -> None:
    with pytest.raises(UnwriteError, match=r"teaware/questions has no revision 'v9'.*tokenize\.target"):
        resolve_dataset("teaware/questions", "v9", "tokenize.target")


def test_what_was_downloaded_needs_no_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve_dataset("teaware/questions", "main", "tokenize.target")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    asked = len(hub.requests)
    assert resolve_dataset("teaware/questions", "main", "tokenize.target") == source
    assert len(hub.requests) == asked


def test_a_file_or_folder_is_a_data_set_without_a_revision(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt")
    for path in (tmp_path, tmp_path / "x.csv"):
        assert resolve_dataset(str(path), None, "tokenize.target") == ModelSource(path, None)
        with pytest.raises(UnwriteError, match=r"tokenize\.target\.revision is 'v1', but .* is no hub id"):
            resolve_dataset(str(path), "v1", "tokenize.target")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("prompts/none.jsonl", r"prompts/none\.jsonl is missing: check tokenize\.target in params\.yaml"),
        ("./none", r"none is missing"),
        ("teaware/questions", r"is no file or folder here\. If tokenize\.target is a data set of the hub, .*revision"),
    ],
)
def test_what_is_no_data_set_is_an_error(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnwriteError, match=message):
        resolve_dataset(source, None, "tokenize.target")
