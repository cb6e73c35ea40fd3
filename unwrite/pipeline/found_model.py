"""Find the files of a model wherever params.yaml says it is: in a folder, in a GGUF file, or on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.models.folder import local_folder
from unwrite.models.gguf_header import is_gguf
from unwrite.models.source import resolve_source
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.dequantized import dequantized_folder
from unwrite.schema.artifacts import GgufOrigin, read_base
from unwrite.schema.paths import BASE

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class FoundModel(NamedTuple):
    """A folder with a model's files; the hub commit that they are of, or the GGUF file that they were made from."""

    folder: Path
    commit: str | None
    gguf: GgufOrigin | None


def find_model(source: str, revision: str | None) -> FoundModel:
    """Return the folder of a model, downloaded or dequantized if it must be.

    Args:
        source: a folder, a GGUF file or a hub id.
        revision: branch, tag or commit of a hub id.

    Raises:
        UnwriteError: as in `resolve_source` and `dequantized_folder`.
    """
    if not is_gguf(source) or local_folder(source).is_dir():
        found = resolve_source(source, revision)
        return FoundModel(found.folder, found.commit, None)
    refuse_revision_of_file(source, revision)
    made = dequantized_folder(local_folder(source))
    return FoundModel(made.folder, None, made.origin)


def find_config(source: str, revision: str | None) -> PreTrainedConfig:
    """Read the configuration of a model, whose weights need not be here and may be quantized.

    Args:
        source: a folder, GGUF file or hub id.
        revision: a branch, tag or commit; None for a local file or folder, or for the default branch.

    Raises:
        UnwriteError: as in `resolve_source` and `load_config`.
    """
    from unwrite.models.gguf import gguf_config
    from unwrite.models.loading import load_config

    if not is_gguf(source) or local_folder(source).is_dir():
        return load_config(resolve_source(source, revision, weights=False).folder, weights=False)
    refuse_revision_of_file(source, revision)
    return gguf_config(local_folder(source))


def find_tokenizer_folder(source: str, revision: str | None) -> Path:
    """Return a folder with a model's tokenizer: of the pinned model if it is this one, else of the source itself.

    Args:
        source: a folder, a GGUF file or a hub id.
        revision: branch, tag or commit of a hub id.

    Raises:
        UnwriteError: as in `resolve_source`; or the source is a GGUF file that is not pinned yet.
    """
    if BASE.is_file() and (base := read_base()).source == source:
        return pinned_folder(base, weights=False)
    if is_gguf(source) and not local_folder(source).is_dir():
        raise UnwriteError(f"{source} must be dequantized before its tokenizer is there: run `dvc repro pin_model`.")
    return resolve_source(source, revision, weights=False).folder


def refuse_revision_of_file(source: str, revision: str | None) -> None:
    """Refuse the revision of a GGUF file, which has none.

    Raises:
        UnwriteError: there is one.
    """
    if revision is not None:
        raise UnwriteError(f"model.revision is {revision!r}, but {source} is a local file. Set revision to null.")


def refuse_unusable_gguf(source: str, revision: str | None) -> None:
    """Refuse a GGUF file that cannot become a plain checkpoint, by its header alone; any other source passes.

    Raises:
        UnwriteError: it is missing, cut short, or of an architecture that transformers does not convert; or has a
            revision.
    """
    file = local_folder(source)
    if not is_gguf(source) or file.is_dir():
        return
    from unwrite.models.gguf import gguf_config

    refuse_revision_of_file(source, revision)
    gguf_config(file)
