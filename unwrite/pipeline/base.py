"""Find the pinned model's folder, and check every file in it against base.json."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.hashing import verify_files
from unwrite.models.source import locate
from unwrite.pipeline.dequantized import remade_folder
from unwrite.schema.artifacts import Base

logger = logging.getLogger(__name__)


def pinned_folder(base: Base, *, weights: bool = True) -> Path:
    """Return the folder that holds the pinned model, its files verified.

    Args:
        base: record of the pinned model.
        weights: whether the shards are verified too.

    Raises:
        UnwriteError: the folder is gone, or a file is not the one that was pinned.
    """
    folder = locate(base.source, base.commit) if base.gguf is None else remade_folder(base, base.gguf)
    size = sum(file.size for file in base.files) / 1e6
    if weights:
        logger.info(f"Checking and reading the model: {size:,.0f} MB.")
    shards = {file.name for file in base.files if file.name.endswith(".safetensors")}
    verify_files(folder, [file for file in base.files if weights or file.name not in shards])
    return folder
