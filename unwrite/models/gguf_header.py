"""What a GGUF file says of itself: its model's architecture and the number of weights, without reading those."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError, reason_of

_PACKAGES = ("gguf", "accelerate")  # transformers needs both
_BYTES_AS_STORED = 2  # bfloat16
_OTHER_FILES = 50_000_000
"""Bytes of configuration and tokenizer, at most."""


class GgufHeader(NamedTuple):
    """The architecture, in the terms of llama.cpp, and the number of weights."""

    architecture: str
    weights: int

    @property
    def dequantized_bytes(self) -> int:
        """The room on disk that the model takes as a plain checkpoint in bfloat16."""
        return _BYTES_AS_STORED * self.weights + _OTHER_FILES


def is_gguf(source: str | Path) -> bool:
    """Return whether a model's source is the name of a GGUF file."""
    return Path(source).suffix.lower() == ".gguf"


def read_gguf_header(file: Path) -> GgufHeader:
    """Read the header of a GGUF file, and check that every tensor it lists is there.

    Raises:
        UnwriteError: a package is not installed; the file is missing, no GGUF file, cut short or damaged, or one part
            of a model in several files.
    """
    _refuse_missing_packages(file)
    if not file.is_file():
        raise UnwriteError(f"{file} is missing: expected a GGUF file.")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        fields = {name: reader.fields[name].contents() for name in _FIELDS if name in reader.fields}
        weights = sum(int(tensor.n_elements) for tensor in reader.tensors)
    except Exception as error:  # a damaged file can make the reader raise anything
        raise UnwriteError(
            f"{file} cannot be read as a model ({reason_of(error)}). If it is cut short or damaged, get it again."
        ) from error
    parts = int(fields.get("split.count", 1))
    if parts > 1:
        raise UnwriteError(
            f"{file} is one of {parts} parts of a model. Join them with `llama-gguf-split --merge` and use that file."
        )
    return GgufHeader(str(fields.get("general.architecture", "unknown")), weights)


_FIELDS = ("general.architecture", "split.count")


def _refuse_missing_packages(file: Path) -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UnwriteError(f"Reading {file} needs {package}: pip install 'unwrite[gguf]'.")
