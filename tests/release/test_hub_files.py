"""Every difference between the files here and the hub's listing is found and named."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.hf_api import RepoFile

from unwrite.errors import UnwriteError
from unwrite.release.hub_files import LocalFile, listing_differences, local_files

CONTENT = {"config.json": b"{}", "adapter/weights.safetensors": b"weights"}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, LocalFile]:
    for name, data in CONTENT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return local_files(tmp_path)


def listed(name: str, data: bytes) -> RepoFile:
    """A file as the hub lists it: by git's hash, or by sha256 if it is large."""
    fields: dict[str, Any] = {"path": name, "size": len(data), "oid": git_hash(data)}
    if name.endswith("safetensors"):
        fields |= {"oid": "a pointer's", "lfs": {"size": len(data), "oid": sha256(data), "pointerSize": 1}}
    return RepoFile(**fields)  # type: ignore[no-untyped-call]


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listing(**changes: bytes) -> dict[str, RepoFile]:
    return {name: listed(name, data) for name, data in (CONTENT | changes).items()}


def test_local_file_has_both_hashes(files: dict[str, LocalFile]) -> None:
    for name, data in CONTENT.items():
        assert (files[name].size, files[name].sha256, files[name].blob) == (len(data), sha256(data), git_hash(data))


def test_same_files_do_not_differ(files: dict[str, LocalFile]) -> None:
    assert listing_differences(files, listing()) == []
    assert listing_differences(files, listing() | {".gitattributes": listed(".gitattributes", b"the hub's")}) == []


@pytest.mark.parametrize(
    ("name", "data", "difference"),
    [
        ("config.json", b"[]", "config.json has different contents there"),
        ("config.json", b"{ }", "config.json has 3 bytes there and 2 here"),
        ("adapter/weights.safetensors", b"Weights", "adapter/weights.safetensors has different contents there"),
        ("adapter/weights.safetensors", b"w", "adapter/weights.safetensors has 1 bytes there and 7 here"),
        ("extra.py", b"", "extra.py should not be there"),
    ],
)
def test_every_difference_is_named(files: dict[str, LocalFile], name: str, data: bytes, difference: str) -> None:
    assert listing_differences(files, listing() | {name: listed(name, data)}) == [difference]


def test_missing_file_is_named(files: dict[str, LocalFile]) -> None:
    assert listing_differences(files, {"config.json": listing()["config.json"]}) == [
        "adapter/weights.safetensors is missing"
    ]


def test_anything_but_plain_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="nowhere is not a folder"):
        local_files(tmp_path / "nowhere")
    with pytest.raises(UnwriteError, match="is empty: expected a finished release"):
        local_files(tmp_path)
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(UnwriteError, match="link is not a plain file"):
        local_files(tmp_path)
