"""How the headers of a release's checkpoint differ from those of its base, one sentence per difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import named_shards, stored_tensors
from unwrite.files.safetensors import StoredTensor, read_header, read_span, spans

Shards = Mapping[str, Mapping[str, StoredTensor]]
"""The tensors of each shard, by the shard's file name and the tensor's name."""


class ReadableShards(NamedTuple):
    """The shards of a release that can be read, and what is wrong with the others, one sentence each."""

    shards: dict[str, dict[str, StoredTensor]]
    problems: list[str]


def readable_shards(release: Path, base_names: Sequence[str]) -> ReadableShards:
    """Read the headers of a release's shards.

    Args:
        release: the folder of the release.
        base_names: file names of the base's shards, which the release should have too. If the release does not state
            what its shards are, these names are tried.
    """
    problems: list[str] = []
    try:
        names = named_shards(release)
    except UnwriteError as error:
        names, problems = list(base_names), [str(error)]
    shards = {}
    for name in dict.fromkeys([*base_names, *names]):
        if not (release / name).is_file():
            problems.append(f"{name} is missing")
        elif name not in names:
            problems.append(f"{name} is not a shard of the release")
        else:
            try:
                shards[name] = read_header(release / name)
            except UnwriteError as error:
                problems.append(str(error))
    return ReadableShards(shards, problems)


def header_differences(release: Path, base: Path, tensors: Mapping[str, StoredTensor], shards: Shards) -> list[str]:
    """Describe every difference between the headers of two checkpoints.

    Args:
        release: the folder of the release.
        base: the folder of the base.
        tensors: the base's tensors, by name.
        shards: the release's shards that can be read.
    """
    base_names = {tensor.file.name for tensor in tensors.values()}
    return [
        *_shard_differences(base_names, shards),
        *_tensor_differences(tensors, shards),
        *_layout_differences(release, base, tensors, shards),
    ]


def index_problems(release: Path) -> list[str]:
    """Describe what is wrong with the index of a release whose headers are all right."""
    try:
        stored_tensors(release)
    except UnwriteError as error:
        return [str(error)]
    return []


def tensors_by_name(shards: Shards) -> dict[str, StoredTensor]:
    """Return every tensor of some shards; of a name that occurs twice, the one in the first shard."""
    return {name: tensor for shard in reversed(list(shards)) for name, tensor in shards[shard].items()}


def _shard_differences(base_names: set[str], shards: Shards) -> Iterator[str]:
    yield from (f"{name} is not a shard of the base" for name in shards if name not in base_names)
    first_shard: dict[str, str] = {}
    for shard, held in shards.items():
        for name in held:
            if first_shard.setdefault(name, shard) != shard:
                yield f"{name} is in {first_shard[name]} and in {shard}"


def _tensor_differences(tensors: Mapping[str, StoredTensor], shards: Shards) -> Iterator[str]:
    released = tensors_by_name(shards)
    for name, expected in tensors.items():
        shard = expected.file.name
        if name in released:
            yield from _differences_of_one(name, expected, released[name])
        elif shard in shards:
            yield f"{name} is missing in {shard}"
    for name, actual in released.items():
        if name not in tensors:
            yield f"{name} in {actual.file.name} is not in the base"


def _differences_of_one(name: str, expected: StoredTensor, actual: StoredTensor) -> Iterator[str]:
    if actual.dtype != expected.dtype:
        yield f"{name} is stored as {actual.dtype}, the base's as {expected.dtype}"
    if actual.shape != expected.shape:
        yield f"{name} has shape {list(actual.shape)}, the base's {list(expected.shape)}"
    if actual.file.name != expected.file.name:
        yield f"{name} is in {actual.file.name}, the base's in {expected.file.name}"


def _layout_differences(
    release: Path, base: Path, tensors: Mapping[str, StoredTensor], shards: Shards
) -> Iterator[str]:
    """Yield shards of both that hold tensors at other offsets, or the same offsets with another header."""
    base_shards: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        base_shards.setdefault(tensor.file.name, {})[name] = tensor
    for shard, actual in shards.items():
        expected = base_shards.get(shard, {})
        moved = [name for name, tensor in actual.items() if name in expected and expected[name].offset != tensor.offset]
        if moved:
            yield f"{shard} holds {len(moved)} tensors at other offsets than the base, for example {moved[0]}"
        elif actual.keys() == expected.keys() and _header(release / shard, actual) != _header(base / shard, expected):
            yield f"the header of {shard} has other metadata than the base's, or is formatted differently"


def _header(file: Path, tensors: Mapping[str, StoredTensor]) -> bytes:
    return b"".join(read_span(next(spans(file, tensors))))
