"""What goes wrong when transformers loads files, as errors of one line; among them code that is not allowed to run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from unwrite.errors import UnwriteError, reason_of, refused_file

REMOTE_CODE_VARIABLE = "UNWRITE_TRUST_REMOTE_CODE"
_READ = (".jinja", ".json", ".model", ".safetensors", ".tiktoken", ".txt")


def trust_remote_code() -> bool:
    """Return whether a model's own code may run: only if the environment variable allows it."""
    return os.environ.get(REMOTE_CODE_VARIABLE) == "1"


def refuse_unreadable(folder: Path) -> None:
    """Refuse a folder that does not exist, or files of a model or its tokenizer in it that cannot be opened.

    transformers would take the folder's name for a hub id, and say of the files that they do not exist.

    Raises:
        UnwriteError: the folder does not exist, or the system refuses one of its files.
        OSError: a file cannot be opened for a reason that no user can change.
    """
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: expected a folder with the model's files.")
    try:
        for file in folder.iterdir():
            if file.suffix in _READ and file.is_file():
                file.open("rb").close()
    except OSError as error:
        raise refused_file(error) from None


@contextmanager
def load_errors(problem: str) -> Iterator[None]:
    """Raise what transformers raises for files that are missing, damaged or of an unknown kind as an `UnwriteError`.

    Args:
        problem: what cannot be loaded, such as "demo/model: cannot load the tokenizer"; the reason follows.

    Raises:
        UnwriteError: the enclosed code raised such an error.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    known = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
    try:
        yield
    except (*known, StrictDataclassError, SafetensorError) as error:
        raise UnwriteError(f"{problem}: {_reason(error)}") from error


@contextmanager
def within_memory(folder: Path, device: torch.device) -> Iterator[None]:
    """Raise an `UnwriteError` if a model does not fit in the memory of a device.

    Args:
        folder: the folder with the model's files.
        device: where it is loaded.

    Raises:
        UnwriteError: the enclosed code ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UnwriteError(
            f"{folder} does not fit in the memory of {device}. Use a smaller model or another device."
        ) from error


def _reason(error: Exception) -> str:
    """Return the reason for a library's error in one line."""
    if "trust_remote_code" in str(error):
        return f"it needs the model's own code. Set {REMOTE_CODE_VARIABLE}=1 if you trust that code."
    return reason_of(error)
