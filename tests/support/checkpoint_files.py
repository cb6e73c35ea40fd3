"""Small checkpoints in one file or two shards, and their raw headers."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from unwrite.files.checkpoints import INDEX_FILE, SINGLE_FILE

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TENSORS = {
    "a.weight": torch.arange(12.0).reshape(4, 3),
    "b.weight": torch.arange(10.0).reshape(5, 2).bfloat16(),
    "b.bias": torch.arange(5.0).double(),
}
PLACES = {"a.weight": SHARDS[0], "b.weight": SHARDS[1], "b.bias": SHARDS[1]}


def write_single(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})


def write_sharded(folder: Path, tensors: dict[str, Tensor], places: dict[str, str]) -> None:
    for shard in set(places.values()):
        held = {name: tensor for name, tensor in tensors.items() if places[name] == shard}
        save_file(held, folder / shard, metadata={"format": "pt"})
    write_index(folder, {"metadata": {}, "weight_map": places})


def write_index(folder: Path, index: Any) -> None:
    (folder / INDEX_FILE).write_text(json.dumps(index))


def entries(file: Path) -> dict[str, Any]:
    """The header but for the metadata."""
    raw = file.read_bytes()
    header: dict[str, Any] = json.loads(raw[8 : data_start(raw)])
    header.pop("__metadata__", None)
    return header


def data_start(file: bytes | bytearray) -> int:
    return 8 + int(struct.unpack("<Q", file[:8])[0])


def rewrite_header(file: Path, header: bytes) -> None:
    raw = file.read_bytes()
    file.write_bytes(struct.pack("<Q", len(header)) + header + raw[data_start(raw) :])


def same_bits(one: Tensor, other: Tensor) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.contiguous().view(torch.uint8).equal(other.contiguous().view(torch.uint8))
    )
