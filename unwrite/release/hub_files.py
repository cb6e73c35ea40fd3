"""The files of a release here, and how the files that the hub lists differ from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

KEPT = ".gitattributes"
"""The hub's own file, which lists the large files."""
_SMALL = 1 << 25  # bytes: the hub keeps no larger file in git itself


class LocalFile(NamedTuple):
    """A file of the release, by everything that the hub lists too; `blob` is git's own hash, of small files only."""

    path: Path
    size: int
    sha256: str
    blob: str | None


def local_files(folder: Path) -> dict[str, LocalFile]:
    """Return every file of a release by its name in the repository, with its sums before the upload.

    Raises:
        UnwriteError: the folder is missing or empty, or holds something other than plain files.
    """
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: expected a finished release.")
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if not paths:
        raise UnwriteError(f"{folder} is empty: expected a finished release.")
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise UnwriteError(f"{path} is not a plain file, and a release holds nothing else: replace it by a copy.")
    return {path.relative_to(folder).as_posix(): _local_file(path) for path in paths}


def _local_file(path: Path) -> LocalFile:
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            if size <= _SMALL:
                blob.update(block)
    return LocalFile(path, size, sha256.hexdigest(), blob.hexdigest() if size <= _SMALL else None)


def hub_listing(api: HfApi, repository: str, commit: str) -> dict[str, RepoFile]:
    """Return every file of a commit, as the hub lists it. The library itself retries here."""
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repository, recursive=True, revision=commit)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def listing_differences(files: Mapping[str, LocalFile], listing: Mapping[str, RepoFile]) -> list[str]:
    """Return how the hub's listing differs from the files here, one phrase per file; empty if they are the same."""
    missing = [f"{name} is missing" for name in files if name not in listing]
    extra = [f"{name} should not be there" for name in listing if name not in files and name != KEPT]
    return [*missing, *extra, *_changed(files, listing)]


def _changed(files: Mapping[str, LocalFile], listing: Mapping[str, RepoFile]) -> Iterator[str]:
    for name, file in files.items():
        if name not in listing:
            continue
        listed = listing[name]
        size = listed.size if listed.lfs is None else listed.lfs.size
        same = listed.blob_id == file.blob if listed.lfs is None else listed.lfs.sha256 == file.sha256
        if size != file.size:
            yield f"{name} has {size} bytes there and {file.size} here"
        elif not same:
            yield f"{name} has different contents there"
