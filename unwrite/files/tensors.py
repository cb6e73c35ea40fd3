"""Small named tensors (residuals, directions) in safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes named tensors with text metadata. The same tensors and metadata give the same bytes."""
    with atomic_file(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in sorted(tensors.items())},
            temporary,
            metadata=dict(sorted(metadata.items())),
        )


def read_tensors(path: Path, stage: str) -> dict[str, Tensor]:
    """Reads every tensor of a file made by `stage`.

    Raises:
        UnwriteError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run `dvc repro {stage}` first.") from None
    except SafetensorError as error:
        raise UnwriteError(f"{path} is damaged ({error}): run `dvc repro -f {stage}`.") from None
