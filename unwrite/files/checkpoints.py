"""Safetensors checkpoints as byte ranges: which file holds which tensor, read a few rows at a time."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.schema.paths import EVALUATION, MANIFEST, RECIPE

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
WEIGHTS = ".safetensors"
# What belongs to a model besides its weights; everything else in a folder is left alone.
COMPANIONS = ("*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "LICENSE*", "NOTICE*")
_CODE = ("*.py",)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_ITEM_BYTES: Mapping[str, int] = {
    **{name: dtype.itemsize for name, dtype in DTYPES.items()},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8},
}
_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
BLOCK_BYTES = 1 << 20
"""What is read, hashed and written at a time: little beside a tensor, much beside what a call costs."""


class StoredTensor(NamedTuple):
    """Where a tensor lies: file, safetensors dtype name, shape, and its first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


def model_files(folder: Path, *, code: bool = False) -> list[str]:
    """Names of the files that make up the model in `folder`: shards, index, configuration, tokenizer, licence. Sorted.

    With `code`, Python files too: where the person lets it run, it is part of what the model computes.

    Raises:
        UnwriteError: There is no such folder, it has no safetensors checkpoint, or its index is wrong.
    """
    names = set(shard_files(folder))
    if _index(folder):
        names.add(INDEX_FILE)
    for pattern in COMPANIONS + _CODE * code:
        names.update(path.name for path in folder.glob(pattern) if path.is_file() and ".index." not in path.name)
    # Where the base is itself a release, what tells how that one was made is no part of the model.
    return sorted(names - {MANIFEST, RECIPE.name, EVALUATION.name})


def shard_files(folder: Path) -> list[str]:
    """Names of the checkpoint's safetensors files, sorted.

    Raises:
        UnwriteError: As `model_files`.
    """
    shards = named_shards(folder)
    for shard in shards:
        if not (folder / shard).is_file():
            raise UnwriteError(f"{folder / INDEX_FILE} names the shard {shard}, which is missing. Download it again.")
    return shards


def named_shards(folder: Path) -> list[str]:
    """Names of the safetensors files that the checkpoint is said to be in, whether they are there or not; sorted.

    Raises:
        UnwriteError: There is no such folder, nothing says it, or the index is wrong.
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
    # With both, the single file counts, as in transformers.
    index = folder / INDEX_FILE
    return index if index.is_file() and not (folder / SINGLE_FILE).is_file() else None


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        entries = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnwriteError(
            f"{index} is not a safetensors index (an object with weight_map). Download it again."
        ) from None
    for shard in entries.values():
        if Path(shard).name != shard or shard in {"", ".", ".."}:
            raise UnwriteError(f"{index} names {shard!r}, which is not a plain file name in that folder. Refused.")
    return entries


def index_of(tensors: Mapping[str, StoredTensor]) -> dict[str, Any]:
    """The index of a checkpoint, as JSON values.

    Beside a single file it is not needed, but engines that load every safetensors file of a folder which has no index
    (vLLM does) would take the directions of a release for weights.
    """
    return {"metadata": {}, "weight_map": {name: tensor.file.name for name, tensor in sorted(tensors.items())}}


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the checkpoint in `folder`, by name.

    Raises:
        UnwriteError: A header is damaged, a file is truncated, or the index and the shards disagree.
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


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Tensors of one safetensors file. Format: header length (8 bytes, little-endian), JSON header, data.

    Raises:
        UnwriteError: The header is not what the format says, or the file is shorter or longer than it declares.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise UnwriteError(f"{file} is not a safetensors file, or truncated ({size} bytes). Download it again.")
        raw = stream.read(length)
    data = 8 + length
    tensors, end = {}, 0
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        # The data is tiled: each tensor begins where the one before ends.
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            item = _ITEM_BYTES.get(dtype)
            if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)) or start != end or stop < start:
                raise ValueError(name)
            if item is not None and stop - start != math.prod(shape) * item:
                raise ValueError(name)
            tensors[name] = StoredTensor(file, dtype, shape, data + start)
            end = stop
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnwriteError(f"{file} has a damaged safetensors header. Download it again.") from None
    if size != data + end:
        raise UnwriteError(f"{file} has {size} bytes, its header declares {data + end}. Download it again.")
    return tensors


class ByteRange(NamedTuple):
    """Consecutive bytes of a file, from `start` up to `stop`: a tensor, or, with no name, what is no tensor's."""

    file: Path
    tensor: str | None
    start: int
    stop: int


def spans(file: Path, tensors: Mapping[str, StoredTensor]) -> Iterator[ByteRange]:
    """A file from its first byte to its last: the header, then its tensors as they lie.

    Args:
        file: A file of a checkpoint; one that holds no tensors is one span without a name.
        tensors: As `stored_tensors` or `read_header` gives them; those of other files are left out.
    """
    tensor, start = None, 0
    for name, place in tensors.items():  # each file's in the order of its bytes
        if place.file == file:
            yield ByteRange(file, tensor, start, place.offset)
            tensor, start = name, place.offset
    yield ByteRange(file, tensor, start, file.stat().st_size)


def read_span(span: ByteRange) -> Iterator[bytes]:
    """The bytes of a span, `BLOCK_BYTES` at a time.

    Raises:
        UnwriteError: The file ends earlier.
    """
    with span.file.open("rb", buffering=0) as stream:
        start = span.start
        while start < span.stop:
            block = os.pread(stream.fileno(), min(BLOCK_BYTES, span.stop - start), start)
            if not block:
                raise UnwriteError(f"{span.file} ended early: it changed while it was read. Run the stage again.")
            start += len(block)
            yield block


def byte_blocks(values: Tensor) -> Iterator[bytes]:
    """The bytes of a contiguous tensor, `BLOCK_BYTES` at a time."""
    data = values.flatten().view(torch.uint8).numpy()
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES].tobytes()


def row_blocks(shape: Sequence[int], elements: int = 1 << 20, multiple: int = 1) -> Iterator[slice]:
    """Consecutive slices of a tensor's first axis, each of at most `elements` numbers, or `multiple` rows.

    All but the last have a multiple of `multiple` rows.
    """
    step = elements // max(1, math.prod(shape[1:])) // multiple * multiple or multiple
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def cut(tensor: StoredTensor, parts: int) -> list[StoredTensor]:
    """A tensor as equal parts along its first axis, each with bytes of its own: [2·n, k] as two [n, k], [2, n, k] too.

    Raises:
        UnwriteError: It can't be cut so.
    """
    first, *rest = tensor.shape
    if parts < 1 or first % parts or (len(rest) > 1 and first != parts):
        raise UnwriteError(f"{tensor.file} has a tensor of shape {tensor.shape}, which can't be cut into {parts}.")
    shape = tuple(rest) if len(rest) > 1 else (first // parts, *rest)
    step = math.prod(shape) * torch_dtype(tensor).itemsize
    return [tensor._replace(shape=shape, offset=tensor.offset + part * step) for part in range(parts)]


def read_rows(tensor: StoredTensor, rows: slice) -> Tensor:
    """Rows of a stored tensor in the stored dtype, shape [rows, *rest]. Reads only their bytes."""
    dtype = torch_dtype(tensor)
    width = math.prod(tensor.shape[1:])
    count = rows.stop - rows.start
    buffer = bytearray(count * width * dtype.itemsize)
    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.offset + rows.start * width * dtype.itemsize)
        view, done = memoryview(buffer), 0
        while done < len(buffer):
            got = stream.readinto(view[done:])
            if not got:
                raise UnwriteError(f"{tensor.file} ended early: it changed while it was read. Run the stage again.")
            done += got
    return torch.frombuffer(buffer, dtype=dtype).reshape(count, *tensor.shape[1:])


def torch_dtype(tensor: StoredTensor) -> torch.dtype:
    """The torch dtype of a stored floating-point tensor.

    Raises:
        UnwriteError: It is stored quantized or as integers.
    """
    if tensor.dtype not in DTYPES:
        raise UnwriteError(
            f"{tensor.file} stores a tensor as {tensor.dtype}; only {', '.join(DTYPES)} can be edited exactly. "
            "Point model.source at the unquantized checkpoint."
        )
    return DTYPES[tensor.dtype]


def copy_file(source: Path, target: Path) -> None:
    """Copies bytes in the kernel, which shares blocks (reflink) where system and file system can."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            remaining = os.fstat(reader.fileno()).st_size
            while remaining and (copied := os.copy_file_range(reader.fileno(), writer.fileno(), remaining)):
                remaining -= copied
        if remaining:
            raise OSError(errno.EOPNOTSUPP, "copies nothing")  # as some network file systems do
    except (AttributeError, OSError) as error:
        # Not on this system, or not between these two file systems; anything else (a full disk) is a real failure.
        if isinstance(error, OSError) and error.errno not in {
            errno.EXDEV,
            errno.ENOSYS,
            errno.EOPNOTSUPP,
            errno.EINVAL,
            errno.EPERM,
        }:
            raise
        shutil.copyfile(source, target)
    if target.stat().st_size != source.stat().st_size:
        raise UnwriteError(f"{source} changed while it was copied. Run the stage again.")
