"""The source of a prompt set: a local file or folder, or a data set of the hub at one commit."""

from __future__ import annotations

from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.models.download_errors import download_errors
from unwrite.models.folder import local_folder
from unwrite.models.source import ModelSource, is_hub_id

_FILES = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt")
_DATA = ["README.md", *(f"*{suffix}" for suffix in (*_FILES, ".arrow", ".gz", ".zst"))]
"""The files of a data set. Never pickles, and never code."""


def resolve_dataset(source: str, revision: str | None, key: str) -> ModelSource:
    """Find a data set: an existing file or folder as it is, a hub id by downloading its data files at a commit.

    Scripts and pickles are not downloaded. Without a network, or with HF_HUB_OFFLINE=1, the hub's local cache is used.

    Args:
        source: a file, a folder or a hub id.
        revision: a branch, tag or commit; a hub id needs one, so that its data cannot change.
        key: the key of params.yaml that names the data set, for messages.

    Raises:
        UnwriteError: there is no such file or folder and the name is not a hub id, or the hub cannot deliver it.
    """
    path = local_folder(source)
    if path.exists() or path.suffix.lower() in _FILES or path.parent.is_dir() or not is_hub_id(source):
        if revision is not None:
            raise UnwriteError(f"{key}.revision is {revision!r}, but {source} is no hub id. Remove the revision.")
        if not path.exists():
            raise UnwriteError(f"{source} is missing: check {key} in params.yaml.")
        return ModelSource(path, None)
    if revision is None:
        raise UnwriteError(
            f"{source} is no file or folder here. If {key} is a data set of the hub, write it as a mapping with source "
            "and revision (a commit or tag)."
        )
    from huggingface_hub import snapshot_download

    from unwrite.models.download_lines import bar_class

    with download_errors(source, revision, key):
        folder = Path(
            snapshot_download(
                source, repo_type="dataset", revision=revision, allow_patterns=_DATA, tqdm_class=bar_class()
            )
        )
    return ModelSource(folder, folder.name)  # the hub's cache keeps one folder per commit, named after it
