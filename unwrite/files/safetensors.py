"""One safetensors file as byte ranges: its header, and its tensors read a few rows at a time.

The header is parsed here, because the library does not return the offsets of tensors. With the offsets, a file can be
hashed, compared and written from its first byte to its last, a few rows of each tensor at a time, in constant memory.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unwrite.errors import UnwriteError
from unwrite.files.lfs_pointers import refuse_pointer_bytes
from unwrite.schema.strict_json import AmbiguousJson, strict_json

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
_LENGTH_BYTES = 8  # of the header's length, at the start of the file
_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
BLOCK_BYTES = 1 << 20
"""Bytes read, hashed and written at a time: small compared with a tensor, large enough to amortize a call."""


class StoredTensor(NamedTuple):
    """The place of a tensor: its file, safetensors dtype name, shape, and first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Read the place of each tensor in one safetensors file, by name and in the order of their bytes.

    The format: header length (8 bytes, little-endian), JSON header, data.

    Raises:
        UnwriteError: the header does not follow the format, or the file is shorter or longer than it declares.
    """
    size = file.stat().st_size
    header = _header_bytes(file, size)
    data_start = _LENGTH_BYTES + len(header)
    try:
        tensors, data_size = _parse_header(header, file, data_start)
    except AmbiguousJson as error:
        raise UnwriteError(f"The safetensors header of {file} {error}. Download it again.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnwriteError(f"{file} has a damaged safetensors header. Download it again.") from None
    declared = data_start + data_size
    if size != declared:
        raise UnwriteError(f"{file} has {size} bytes, but its header declares {declared}. Download it again.")
    return tensors


def read_metadata_entries(file: Path) -> tuple[dict[str, Any], bool]:
    """Read the metadata of a safetensors file, and whether its header holds nothing but metadata and tensors.

    Raises:
        UnwriteError: as in `read_header`, or the header has a key twice.
        ValueError: the header is not JSON.
    """
    header = _header_bytes(file, file.stat().st_size)
    entries = strict_json(header)
    metadata = entries.get("__metadata__", {})
    known = {"dtype", "shape", "data_offsets"}
    plain = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    is_plain = (
        isinstance(metadata, dict)
        and all(entry.keys() == known for name, entry in entries.items() if name != "__metadata__")
        and header.rstrip(b" ") == plain
        and len(header) - len(plain) < _LENGTH_BYTES
    )
    return dict(metadata) if isinstance(metadata, dict) else {}, is_plain


def _header_bytes(file: Path, size: int) -> bytes:
    """Read the JSON header of a file of `size` bytes, unparsed."""
    with file.open("rb") as stream:
        prefix = stream.read(_LENGTH_BYTES)
        refuse_pointer_bytes(prefix, str(file))
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == _LENGTH_BYTES else 0
        if not 2 <= length <= min(_HEADER_LIMIT, size - _LENGTH_BYTES):
            raise UnwriteError(f"{file} is not a safetensors file, or truncated ({size} bytes). Download it again.")
        return stream.read(length)


def _parse_header(header: bytes, file: Path, data_start: int) -> tuple[dict[str, StoredTensor], int]:
    """Return the place of each tensor, and the size of the data in bytes.

    Raises:
        ValueError: the header is not JSON, an entry is wrong, or the tensors leave a gap or overlap. Other exceptions
            that a header of wrong types raises mean the same.
    """
    entries = strict_json(header)
    entries.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise ValueError(f"{name} has a negative or non-integer size or offset")
        if start != end or stop < start:
            raise ValueError(f"{name} does not begin where the tensor before it ends")
        item_bytes = _ITEM_BYTES.get(dtype)
        if item_bytes is not None and stop - start != math.prod(shape) * item_bytes:
            raise ValueError(f"{name} has another number of bytes than its shape needs")
        tensors[name] = StoredTensor(file, dtype, shape, data_start + start)
        end = stop
    return tensors, end


class ByteRange(NamedTuple):
    """Consecutive bytes of a file, from `start` up to `stop`: a tensor or, if unnamed, the header."""

    file: Path
    tensor: str | None
    start: int
    stop: int


def spans(file: Path, tensors: Mapping[str, StoredTensor]) -> Iterator[ByteRange]:
    """Yield the byte ranges of a file from its first byte to its last: the header, then its tensors in order.

    Args:
        file: a file of a checkpoint; a file without tensors is one unnamed range.
        tensors: from `stored_tensors` or `read_header`; those of other files are ignored.
    """
    tensor, start = None, 0
    for name, stored in tensors.items():  # those of one file are in the order of their bytes
        if stored.file == file:
            yield ByteRange(file, tensor, start, stored.offset)
            tensor, start = name, stored.offset
    yield ByteRange(file, tensor, start, file.stat().st_size)


def read_span(span: ByteRange) -> Iterator[bytes]:
    """Yield the bytes of a range, `BLOCK_BYTES` at a time.

    Raises:
        UnwriteError: the file ends before the range does.
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
    """Yield the bytes of a contiguous tensor of any shape, `BLOCK_BYTES` at a time."""
    data = values.flatten().view(torch.uint8).numpy()
    for start in range(0, len(data), BLOCK_BYTES):
        yield data[start : start + BLOCK_BYTES].tobytes()


def row_blocks(shape: Sequence[int], elements: int = 1 << 20, multiple: int = 1) -> Iterator[slice]:
    """Yield consecutive slices of a tensor's first axis, of at most `elements` numbers each, or of `multiple` rows.

    The number of rows is a multiple of `multiple` in all but the last.
    """
    step = elements // max(1, math.prod(shape[1:])) // multiple * multiple or multiple
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def split_tensor(tensor: StoredTensor, parts: int) -> list[StoredTensor]:
    """Split a stored tensor into equal parts along its first axis: [2·n, k] and [2, n, k] both into two of [n, k].

    Raises:
        UnwriteError: the tensor cannot be split into that many parts.
    """
    first, *rest = tensor.shape
    if parts < 1 or first % parts or (len(rest) > 1 and first != parts):
        raise UnwriteError(
            f"{tensor.file} has a tensor of shape {tensor.shape}, which cannot be split in {parts} parts."
        )
    shape = tuple(rest) if len(rest) > 1 else (first // parts, *rest)
    step = math.prod(shape) * torch_dtype(tensor).itemsize
    return [tensor._replace(shape=shape, offset=tensor.offset + part * step) for part in range(parts)]


def read_rows(tensor: StoredTensor, rows: slice) -> Tensor:
    """Read some rows of a stored tensor, and only their bytes.

    Returns:
        The rows, [rows, ...], in the stored dtype.

    Raises:
        UnwriteError: the tensor is not stored as floating point, or the file ends before the rows do.
    """
    dtype = torch_dtype(tensor)
    width = math.prod(tensor.shape[1:])
    count = rows.stop - rows.start
    buffer = bytearray(count * width * dtype.itemsize)
    with tensor.file.open("rb", buffering=0) as stream:
        stream.seek(tensor.offset + rows.start * width * dtype.itemsize)
        view, done = memoryview(buffer), 0
        while done < len(buffer):
            count_read = stream.readinto(view[done:])
            if not count_read:
                raise UnwriteError(f"{tensor.file} ended early: it changed while it was read. Run the stage again.")
            done += count_read
    return torch.frombuffer(buffer, dtype=dtype).reshape(count, *tensor.shape[1:])


def read_tensor(tensor: StoredTensor) -> Tensor:
    """Read a whole stored tensor, in its shape and stored dtype."""
    return read_rows(tensor, slice(0, tensor.shape[0]))


def torch_dtype(tensor: StoredTensor) -> torch.dtype:
    """Return the torch dtype of a stored floating-point tensor.

    Raises:
        UnwriteError: the tensor is stored quantized or as integers.
    """
    if tensor.dtype not in DTYPES:
        raise UnwriteError(
            f"{tensor.file} stores a tensor as {tensor.dtype}; only {', '.join(DTYPES)} can be edited exactly. "
            "Point model.source at the unquantized checkpoint."
        )
    return DTYPES[tensor.dtype]
