"""A file of the hub's cache is the one that the hub lists: the cache itself says which, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.connected_hub import connected_hub
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.models.hub_sums import refuse_wrong_sums
from unwrite.models.source import resolve_source

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A downloaded model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with connected_hub(monkeypatch) as hub:
        hub.add("teaware/kettle", FILES)
        yield resolve_source("teaware/kettle", None).folder


def check(folder: Path) -> None:
    refuse_wrong_sums(folder, {name: sha256_of(folder / name) for name in FILES})


def test_files_as_the_hub_lists_them_pass(folder: Path) -> None:
    check(folder)


@pytest.mark.parametrize(("name", "kind"), [("model.safetensors", "sha256"), ("config.json", "git sum")])
def test_a_damaged_file_is_named_with_what_to_remove(folder: Path, name: str, kind: str) -> None:
    path = (folder / name).resolve()
    path.write_bytes(b"a" + FILES[name][1:])  # the same size, which is all that the hub's library looks at
    with pytest.raises(
        UnwriteError, match=f"{name} has {kind} .*, but the hub lists .*: the download is damaged"
    ) as error:
        check(folder)
    assert f"Remove {path} and run again." in str(error.value)
    path.unlink()
    assert resolve_source("teaware/kettle", None).folder == folder
    check(folder)


def test_a_file_without_a_sum_in_the_cache_is_not_checked(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(b"[]")  # as on a disk without links
    check(folder)
