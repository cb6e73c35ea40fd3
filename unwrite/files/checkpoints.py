"""The checkpoint in a folder: the files that belong to the model, and the tensors in each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.files.safetensors import StoredTensor, read_header
from unwrite.schema.paths import EVALUATION, MANIFEST, RECIPE, TEMPLATES
from unwrite.schema.strict_json import AmbiguousJson, strict_json
from unwrite.schema.text import refuse_endless

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
WEIGHTS = ".safetensors"
# The files of a model other than its weights; all others in a folder are ignored.
_TOKENIZERS = ("*.model", "*.model.*", "*.spm", "*.bpe", "*.tiktoken")
COMPANIONS = ("*.json", "*.jinja", *_TOKENIZERS, "*.txt", "LICENSE*", "NOTICE*")
_CODE = ("*.py",)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def model_files(folder: Path, *, code: bool = False) -> list[str]:
    """Return the sorted names of a model's files: shards, index, configuration, tokenizer, chat templates and licence.

    With `code`, also Python files: if the user allows them to run, they are part of the model. They always are where
    config.json names them in `auto_map`, since the model cannot be loaded without them.

    Raises:
        UnwriteError: the folder does not exist, has no safetensors checkpoint, or its index is wrong; or as in
            `refuse_endless_companions`.
    """
    names = set(shard_files(folder))
    refuse_endless_companions(folder)
    if _index(folder):
        names.add(INDEX_FILE)
    for pattern in COMPANIONS + _CODE * (code or _names_code(folder)):
        names.update(path.name for path in folder.glob(pattern) if path.is_file() and ".index." not in path.name)
    names.update(f"{TEMPLATES}/{path.name}" for path in (folder / TEMPLATES).glob("*.jinja") if path.is_file())
    # If the base is itself a release, its own recipe and manifest are not part of the model.
    return sorted(names - {MANIFEST, RECIPE.name, EVALUATION.name})


def refuse_endless_companions(folder: Path) -> None:
    """Refuse a model with a pipe, a socket or a device where its configuration, tokenizer or card would be.

    Raises:
        UnwriteError: there is one; the message names it.
    """
    for pattern in (*COMPANIONS, "*.md"):
        for path in sorted(folder.glob(pattern)):
            refuse_endless(path)


def left_out_files(folder: Path, kept: Collection[str]) -> list[str]:
    """Return the sorted names of what a model's folder holds besides the files that are kept.

    They are weights in other formats, weights that the index does not name, folders, and whatever else lies there. The
    card, hidden files, and the recipe of a base that is itself a release are not listed: each release has its own.

    Args:
        folder: the model's folder.
        kept: the names of `model_files`.
    """
    known = {*kept, "README.md", MANIFEST, RECIPE.name, EVALUATION.name}
    names = {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}
    if any(name.startswith(f"{TEMPLATES}/") for name in kept):
        names.discard(f"{TEMPLATES}/")
        names |= {f"{TEMPLATES}/{path.name}" for path in (folder / TEMPLATES).glob("*")}
    return sorted(name for name in names - known if not name.startswith("."))


def _names_code(folder: Path) -> bool:
    """Return whether config.json names Python files of this folder; False if it cannot be read."""
    try:
        config = strict_json((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and bool(config.get("auto_map"))


def shard_files(folder: Path) -> list[str]:
    """Return the sorted names of the checkpoint's safetensors files, all of which exist.

    Raises:
        UnwriteError: as in `model_files`, or a shard is missing.
    """
    shards = named_shards(folder)
    for shard in shards:
        if not (folder / shard).is_file():
            raise UnwriteError(f"{folder / INDEX_FILE} names the shard {shard}, which is missing. Download it again.")
    return shards


def named_shards(folder: Path) -> list[str]:
    """Return the sorted names of the safetensors files that the checkpoint should have, even if they are missing.

    Raises:
        UnwriteError: the folder does not exist, has no safetensors checkpoint, or its index is wrong.
    """
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: check model.source in params.yaml.")
    if index := _index(folder):
        return sorted(set(_weight_map(index).values()))
    if (folder / SINGLE_FILE).is_file():
        return [SINGLE_FILE]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UnwriteError(
            f"{folder} has only pickled weights ({pickles[0]}), which can run code when read. "
            "Convert them to safetensors (save_pretrained does) and point model.source there."
        )
    raise UnwriteError(f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}: expected a safetensors checkpoint.")


def _index(folder: Path) -> Path | None:
    # If both exist, the single file counts, as in transformers.
    index = folder / INDEX_FILE
    return index if index.is_file() and not (folder / SINGLE_FILE).is_file() else None


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = strict_json(index.read_bytes())["weight_map"]
        entries = {str(name): str(shard) for name, shard in weight_map.items()}
    except AmbiguousJson as error:
        raise UnwriteError(f"{index} {error}. Download it again.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnwriteError(
            f"{index} is not a safetensors index (an object with weight_map). Download it again."
        ) from None
    for shard in entries.values():
        if Path(shard).name != shard or shard in {"", ".", ".."}:
            raise UnwriteError(f"{index} names {shard!r}, which is not a plain file name in that folder. Refused.")
    return entries


def refuse_incomplete_index(folder: Path) -> None:
    """Refuse a checkpoint whose index lacks a part that transformers fails without, naming it.

    Raises:
        UnwriteError: the index has no metadata, or is none.
    """
    index = _index(folder)
    if index and _weight_map(index) and "metadata" not in strict_json(index.read_bytes()):
        raise UnwriteError(f"{index} lacks 'metadata', which transformers needs. Download it again.")


def listed_tensors(folder: Path, tensors: Collection[str]) -> set[str]:
    """Return those of a checkpoint's tensors that its index names; all of them if it has none."""
    index = _index(folder)
    return set(tensors) & _weight_map(index).keys() if index else set(tensors)


def index_of(tensors: Mapping[str, StoredTensor]) -> dict[str, Any]:
    """Return the index of a checkpoint as JSON values.

    A single file does not need one, but an engine that loads every safetensors file of a folder without an index, such
    as vLLM, would load the directions of a release as weights.
    """
    return {"metadata": {}, "weight_map": {name: tensor.file.name for name, tensor in sorted(tensors.items())}}


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return every tensor of the checkpoint in a folder, by name.

    Raises:
        UnwriteError: a header is damaged, a file is truncated, or the index and the shards disagree.
    """
    tensors: dict[str, StoredTensor] = {}
    for shard in shard_files(folder):
        for name, tensor in read_header(folder / shard).items():
            if name in tensors:
                raise UnwriteError(f"{folder}: the tensor {name} is in {tensors[name].file.name} and in {shard}.")
            tensors[name] = tensor
    if index := _index(folder):
        for name, shard in _weight_map(index).items():
            if name not in tensors or tensors[name].file.name != shard:
                raise UnwriteError(f"{index} says that {shard} holds {name}, but it does not. Download it again.")
    return tensors
