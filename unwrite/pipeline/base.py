"""The pinned model as later stages see it: its folder, every file checked against base.json."""

from __future__ import annotations

from pathlib import Path

from unwrite.files.hashing import verify_files
from unwrite.models.source import locate
from unwrite.schema.artifacts import Base, read_artifact
from unwrite.schema.paths import BASE


def read_base() -> Base:
    """The pinned model's record.

    Raises:
        UnwriteError: It is missing or damaged.
    """
    return read_artifact(Base, BASE, "pin_model")


def pinned_folder(base: Base, *, weights: bool = True) -> Path:
    """The folder that holds the pinned model, its files verified; without `weights`, all but the shards.

    Raises:
        UnwriteError: The folder is gone, or a file is not the one that was pinned.
    """
    folder = locate(base.source, base.commit)
    shards = {file.name for file in base.files if file.name.endswith(".safetensors")}
    verify_files(folder, [file for file in base.files if weights or file.name not in shards])
    return folder
