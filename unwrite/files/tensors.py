"""Small named tensors (residuals, directions) in safetensors files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.atomic import atomic_file
from unwrite.files.lfs_pointers import refuse_pointer
from unwrite.files.safetensors import read_metadata_entries
from unwrite.schema.strict_json import strict_json


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write named tensors with JSON metadata. The same tensors and metadata give the same bytes."""
    data = save(
        {name: tensor.contiguous() for name, tensor in sorted(tensors.items())},
        # A single key, because safetensors writes several in an order that changes between runs.
        metadata={"unwrite": json.dumps(metadata, sort_keys=True)},
    )
    # Not save_file: its temporary file is readable by its owner only, and stays behind if the process is killed.
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: Path, stage: str) -> dict[str, Tensor]:
    """Read every tensor of a file that `stage` writes.

    Raises:
        UnwriteError: the file is missing, damaged or a Git LFS pointer.
        OSError: the system refuses it.
    """
    with _readable_errors(path, stage):
        return load_file(path) if _has_utf8_name(path) else load(path.read_bytes())


def read_metadata(path: Path, stage: str) -> dict[str, Any]:
    """Read the JSON metadata that `write_tensors` stored.

    Raises:
        UnwriteError, OSError: as in `read_tensors`.
    """
    with _readable_errors(path, stage):
        if _has_utf8_name(path):
            with safe_open(path, framework="pt") as file:
                entries = file.metadata() or {}
        else:
            entries, _ = read_metadata_entries(path)
        metadata: dict[str, Any] = strict_json(entries["unwrite"])
        return metadata


def _has_utf8_name(path: Path) -> bool:
    # The library opens no other path.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _readable_errors(path: Path, stage: str) -> Iterator[None]:
    try:
        refuse_pointer(path)
        yield
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run `dvc repro {stage}` first.") from None
    except (SafetensorError, IsADirectoryError, NotADirectoryError, KeyError, ValueError) as error:
        raise UnwriteError(f"{path} is damaged ({reason_of(error)}): run `dvc repro -f {stage}`.") from None
