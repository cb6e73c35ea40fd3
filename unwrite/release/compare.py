"""A release's weights against what the declared changes make of its base: every shard, tensor and number."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.editing.changes import TensorChange
from unwrite.editing.checkpoint import merged_spans
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import (
    DTYPES,
    ByteRange,
    StoredTensor,
    named_shards,
    read_header,
    read_span,
    shard_files,
    spans,
    stored_tensors,
)
from unwrite.files.hashing import sha256_of
from unwrite.files.threads import in_threads

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class TensorComparison(NamedTuple):
    """One tensor of the release against what it should be: the base's or, where a change is declared, its edit."""

    declared: bool
    """Whether a change of it is declared."""
    numbers: int
    """How many it holds; bytes, where they are no floating-point numbers."""
    differing: int
    """Of them, how many are not what they should be, to the bit."""
    rounded: int
    """Of those, how many are next to what they should be, above or below; a zero of the other sign is too."""
    largest: float
    """The largest absolute difference; infinite where one of two numbers isn't finite."""
    equals_base: bool
    """Whether it is the base's to the byte."""


class ReleaseComparison(NamedTuple):
    """What comparing a release with its base found."""

    release_sums: dict[str, str]
    """sha256 of each shard of the release that is there, by file name."""
    base_sums: dict[str, str]
    """sha256 of each shard of the base."""
    headers: list[str]
    """How the two checkpoints' headers differ, one sentence each; empty where they don't."""
    tensors: dict[str, TensorComparison]
    """Every tensor that both have, in one dtype and shape, wherever it lies; by name."""


def compare_checkpoints(
    release: Path, base: Path, changes: Mapping[str, TensorChange], *, threads: int
) -> ReleaseComparison:
    """Reads both checkpoints side by side, a few numbers at a time; once, unless their tensors lie in other places.

    Args:
        release: The folder of the released model.
        base: The folder of the model it was made from.
        changes: What was declared to be done, by tensor, as `merging.changes_of` gives it for the base.
        threads: How many shards are compared at once; the findings don't depend on it.

    Raises:
        UnwriteError: The base's checkpoint is damaged, or a change can't be made of it.
    """
    tensors, names = stored_tensors(base), shard_files(base)
    shards, headers = _readable_shards(release, names)
    released = {name: tensor for held in reversed(shards.values()) for name, tensor in held.items()}
    headers += [*_shard_differences(names, shards), *_tensor_differences(tensors, released, shards)]
    headers += _header_differences(release, base, tensors, shards)
    if not headers:
        headers += _index_differences(release)
    alike = {
        name: tensor for name, tensor in released.items() if name in tensors and _kind(tensor) == _kind(tensors[name])
    }

    def compare(name: str, end_if_stopped: Callable[[], None]) -> _Shard:
        in_step = name in shards and _layout(release / name, shards[name]) == _layout(base / name, tensors)
        return _compare_shard(
            base / name,
            tensors,
            changes,
            alike,
            in_step=release / name if in_step else None,
            end_if_stopped=end_if_stopped,
        )

    found = in_threads(compare, sorted(names, key=lambda name: -(base / name).stat().st_size), threads)
    sums = {shard.name: shard.release_sum for shard in found if shard.release_sum is not None}
    others = [name for name in dict.fromkeys([*shards, *names]) if name not in sums and (release / name).is_file()]
    sums |= zip(others, in_threads(lambda name, _: sha256_of(release / name), others, threads), strict=True)
    compared = {name: one for shard in found for name, one in shard.tensors.items()}
    return ReleaseComparison(
        release_sums=dict(sorted(sums.items())),
        base_sums={shard.name: shard.base_sum for shard in sorted(found)},
        headers=headers,
        tensors={name: compared[name] for name in tensors if name in compared},
    )


def _readable_shards(release: Path, names: Sequence[str]) -> tuple[dict[str, dict[str, StoredTensor]], list[str]]:
    """The tensors of each shard of the release, and what is wrong with those that can't be read.

    Where the release doesn't say what its shards are, they are looked for under the `names` of the base's.
    """
    wrong: list[str] = []
    try:
        named = named_shards(release)
    except UnwriteError as error:
        named, wrong = list(names), [str(error)]
    shards = {}
    for name in dict.fromkeys([*names, *named]):
        if not (release / name).is_file():
            wrong.append(f"{name} is missing")
        elif name not in named:
            wrong.append(f"{name} is no shard of the release's")
        else:
            try:
                shards[name] = read_header(release / name)
            except UnwriteError as error:
                wrong.append(str(error))
    return shards, wrong


def _shard_differences(names: Sequence[str], shards: Mapping[str, Mapping[str, StoredTensor]]) -> Iterator[str]:
    yield from (f"{name} is no shard of the base's" for name in shards if name not in names)
    homes: dict[str, str] = {}
    for shard, held in shards.items():
        for name in held:
            if homes.setdefault(name, shard) != shard:
                yield f"{name} is in {homes[name]} and in {shard}"


def _tensor_differences(
    tensors: Mapping[str, StoredTensor],
    released: Mapping[str, StoredTensor],
    shards: Mapping[str, Mapping[str, StoredTensor]],
) -> Iterator[str]:
    for name, tensor in tensors.items():
        shard = tensor.file.name
        if name not in released:
            if shard in shards:
                yield f"{name} is missing in {shard}"
            continue
        came = released[name]
        if came.dtype != tensor.dtype:
            yield f"{name} is stored as {came.dtype}, the base's as {tensor.dtype}"
        if came.shape != tensor.shape:
            yield f"{name} has shape {list(came.shape)}, the base's {list(tensor.shape)}"
        if came.file.name != shard:
            yield f"{name} is in {came.file.name}, the base's in {shard}"
    yield from (
        f"{name} in {came.file.name} is not in the base" for name, came in released.items() if name not in tensors
    )


def _header_differences(
    release: Path,
    base: Path,
    tensors: Mapping[str, StoredTensor],
    shards: Mapping[str, Mapping[str, StoredTensor]],
) -> Iterator[str]:
    """Of shards that both have: the same tensors at other places, or the same places under another header."""
    own: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        own.setdefault(tensor.file.name, {})[name] = tensor
    for shard, held in shards.items():
        ours = own.get(shard, {})
        moved = [name for name, tensor in held.items() if name in ours and ours[name].offset != tensor.offset]
        if moved:
            yield f"{shard} holds {len(moved)} of its tensors at other places than the base's, {moved[0]} among them"
        elif held.keys() == ours.keys() and _header(release / shard, held) != _header(base / shard, ours):
            yield f"{shard} has other metadata in its header than the base's, or has it written otherwise"


def _index_differences(release: Path) -> Iterator[str]:
    """What is left to be wrong where every header is right: the index beside them."""
    try:
        stored_tensors(release)
    except UnwriteError as error:
        yield str(error)


def _header(file: Path, tensors: Mapping[str, StoredTensor]) -> bytes:
    return b"".join(read_span(next(spans(file, tensors))))


def _kind(tensor: StoredTensor) -> tuple[str, tuple[int, ...]]:
    return tensor.dtype, tensor.shape


def _layout(file: Path, tensors: Mapping[str, StoredTensor]) -> list[object]:
    """What lies where in a file, each with its dtype and shape."""
    return [(s.tensor, s.start, s.stop, s.tensor and _kind(tensors[s.tensor])) for s in spans(file, tensors)]


class _Shard(NamedTuple):
    """What comparing one shard of the base found; `release_sum` only where the release's was read along with it."""

    name: str
    base_sum: str
    release_sum: str | None
    tensors: dict[str, TensorComparison]


def _compare_shard(
    file: Path,
    tensors: Mapping[str, StoredTensor],
    changes: Mapping[str, TensorChange],
    released: Mapping[str, StoredTensor],
    *,
    in_step: Path | None,
    end_if_stopped: Callable[[], None],
) -> _Shard:
    """Compares one shard of the base, from its first byte to its last.

    Args:
        file: The base's.
        tensors: The base's, by name.
        changes: By name.
        released: The release's that are stored in the same dtype and shape as the base's, by name.
        in_step: The release's shard, if all in it lies as in the base's.
        end_if_stopped: Called now and then.
    """
    base_sum, release_sum = hashlib.sha256(), hashlib.sha256()
    found: dict[str, TensorComparison] = {}
    wanted = changes if in_step else {name: change for name, change in changes.items() if name in released}
    for span, blocks in merged_spans(file, tensors, wanted):
        name = span.tensor or ""
        place = (
            (in_step, span.start)
            if in_step
            else (released[name].file, released[name].offset)
            if name in released
            else None
        )
        one = TensorComparison(name in changes, 0, 0, 0, 0.0, equals_base=True)
        for old, new in blocks:
            end_if_stopped()
            base_sum.update(old)
            if place is not None:
                source, start = place
                came = b"".join(read_span(ByteRange(source, None, start, start + len(old))))
                place = (source, start + len(old))
                release_sum.update(came)
                if name:
                    one = _with_block(one, tensors[name].dtype, old, new, came)
        if name and place is not None:
            found[name] = one
    return _Shard(file.name, base_sum.hexdigest(), release_sum.hexdigest() if in_step else None, found)


def _with_block(found: TensorComparison, dtype: str, old: bytes, new: bytes, came: bytes) -> TensorComparison:
    """What was found so far and in one block more: the base's bytes, what should be there, and what came."""
    kind = DTYPES.get(dtype, torch.uint8)
    numbers = found.numbers + len(new) // kind.itemsize
    found = found._replace(numbers=numbers, equals_base=found.equals_base and came == old)
    if came == new:
        return found
    integers = _INTEGERS[kind.itemsize]
    expected_bits, came_bits = (torch.frombuffer(bytearray(data), dtype=integers) for data in (new, came))
    differs = expected_bits != came_bits
    expected_bits, came_bits = expected_bits[differs], came_bits[differs]
    expected, other = expected_bits.view(kind).double(), came_bits.view(kind).double()
    distance = (expected - other).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    rounded = ((_ordered(expected_bits) - _ordered(came_bits)).abs() <= 1) & distance.isfinite()
    return found._replace(
        differing=found.differing + len(distance),
        rounded=found.rounded + (int(rounded.sum()) if kind.is_floating_point else 0),
        largest=max(found.largest, float(distance.max())),
    )


def _ordered(bits: Tensor) -> Tensor:
    """Whole numbers in the order of the floating-point numbers that they are the bits of, neighbours one apart."""
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits.long(), bits.long())
