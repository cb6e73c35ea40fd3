"""A release's weights compared with the edit of its base that is declared: every shard, tensor and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unwrite.editing.changes import TensorChange
from unwrite.editing.on_disk import merged_spans
from unwrite.files.checkpoints import shard_files, stored_tensors
from unwrite.files.hashing import PairedSums, sums_of
from unwrite.files.safetensors import ByteRange, StoredTensor, read_span, spans
from unwrite.files.threads import FileMap, Tick
from unwrite.release.header_differences import (
    Shards,
    header_differences,
    index_problems,
    readable_shards,
    tensors_by_name,
)
from unwrite.release.tensor_comparison import TensorComparison, with_block


class ReleaseComparison(NamedTuple):
    """The result of comparing a release with its base.

    Attributes:
        release_sums: sha256 of each shard of the release that exists, by file name. They come from the bytes that
            were read for the comparison, which spares the verification a second hashing.
        base_sums: sha256 of each shard of the base, likewise.
        headers: how the headers differ, one sentence each; empty if they do not.
        tensors: every tensor that both have, in the same dtype and shape, in whatever file, by name.
    """

    release_sums: dict[str, str]
    base_sums: dict[str, str]
    headers: list[str]
    tensors: dict[str, TensorComparison]


class _ShardComparison(NamedTuple):
    """The result of comparing one shard of the base; `release_sum` if the release's shard was read along with it."""

    name: str
    base_sum: str
    release_sum: str | None
    tensors: dict[str, TensorComparison]


class _Comparing(NamedTuple):
    """What is the same for every shard.

    Attributes:
        release: the folder of the release.
        base: the folder of the base.
        changes: the declared changes, by tensor.
        tensors: the base's tensors, by name.
        shards: the release's shards that can be read.
        released: the release's tensors that have the dtype and shape of the base's, by name.
    """

    release: Path
    base: Path
    changes: Mapping[str, TensorChange]
    tensors: Mapping[str, StoredTensor]
    shards: Shards
    released: Mapping[str, StoredTensor]


def compare_checkpoints(
    release: Path, base: Path, changes: Mapping[str, TensorChange], map_files: FileMap
) -> ReleaseComparison:
    """Read two checkpoints side by side, a few values at a time; once, unless their tensors lie at other offsets.

    Args:
        release: the folder of the released model.
        base: the folder of the model it was made from.
        changes: the declared changes, by tensor, as `changes_of` computes them for the base.
        map_files: what compares several shards at once; the result does not depend on it.

    Raises:
        UnwriteError: the base's checkpoint is damaged, or a change cannot be computed.
    """
    tensors, names = stored_tensors(base), shard_files(base)
    shards, problems = readable_shards(release, names)
    headers = [*problems, *header_differences(release, base, tensors, shards)] or index_problems(release)
    released = {
        name: tensor
        for name, tensor in tensors_by_name(shards).items()
        if name in tensors and _kind(tensor) == _kind(tensors[name])
    }
    largest_first = sorted(names, key=lambda name: -(base / name).stat().st_size)
    comparing = _Comparing(release, base, changes, tensors, shards, released)
    found = map_files(partial(_compare_shard, comparing), largest_first)
    compared = {name: one for shard in found for name, one in shard.tensors.items()}
    return ReleaseComparison(
        release_sums=_release_sums(release, found, names, shards, map_files),
        base_sums={shard.name: shard.base_sum for shard in sorted(found)},
        headers=headers,
        tensors={name: compared[name] for name in tensors if name in compared},
    )


def _release_sums(
    release: Path, found: Iterable[_ShardComparison], names: Sequence[str], shards: Shards, map_files: FileMap
) -> dict[str, str]:
    """Return the sha256 of every shard of the release; only those that were not compared as a whole are read again."""
    sums = {shard.name: shard.release_sum for shard in found if shard.release_sum is not None}
    others = [name for name in dict.fromkeys([*shards, *names]) if name not in sums and (release / name).is_file()]
    return dict(sorted((sums | sums_of(release, others, map_files)).items()))


def _compare_shard(comparing: _Comparing, name: str, tick: Tick) -> _ShardComparison:
    """Compare one shard of the base, from its first byte to its last."""
    release, base, changes, tensors, shards, released = comparing
    whole = name in shards and _layout(release / name, shards[name]) == _layout(base / name, tensors)
    release_shard = release / name if whole else None  # if everything in it lies at the same offsets as in the base's
    sums = PairedSums()
    found: dict[str, TensorComparison] = {}
    if not whole:  # edits of tensors that cannot be compared need not be computed
        changes = {tensor: change for tensor, change in changes.items() if tensor in released}
    for span, blocks in merged_spans(base / name, tensors, changes):
        release_span = _release_span(span, released, release_shard)
        comparison = TensorComparison(declared=span.tensor in changes)
        for base_bytes, expected, actual in _with_release_bytes(blocks, release_span):
            tick()
            sums.update(base_bytes, actual if whole and actual is not None else base_bytes)
            if actual is not None and span.tensor is not None:
                comparison = with_block(comparison, tensors[span.tensor].dtype, base_bytes, expected, actual)
        if span.tensor is not None and release_span is not None:
            found[span.tensor] = comparison
    base_sum, release_sum = sums.hexdigests()
    return _ShardComparison(name, base_sum, release_sum if whole else None, found)


def _release_span(
    span: ByteRange, released: Mapping[str, StoredTensor], release_shard: Path | None
) -> ByteRange | None:
    """Return where the release holds what a span of the base holds; None if it has no such tensor."""
    if release_shard is not None:
        return span._replace(file=release_shard)
    if span.tensor is None or span.tensor not in released:
        return None
    tensor = released[span.tensor]
    return ByteRange(tensor.file, span.tensor, tensor.offset, tensor.offset + span.stop - span.start)


def _with_release_bytes(
    blocks: Iterable[tuple[bytes, bytes]], release_span: ByteRange | None
) -> Iterator[tuple[bytes, bytes, bytes | None]]:
    """Yield (bytes of the base, expected bytes, actual bytes) of each block; the last are None without a span."""
    if release_span is None:
        yield from ((base_bytes, expected, None) for base_bytes, expected in blocks)
        return
    start = release_span.start
    for base_bytes, expected in blocks:
        stop = start + len(base_bytes)
        yield base_bytes, expected, b"".join(read_span(release_span._replace(start=start, stop=stop)))
        start = stop


def _kind(tensor: StoredTensor) -> tuple[str, tuple[int, ...]]:
    return tensor.dtype, tensor.shape


def _layout(file: Path, tensors: Mapping[str, StoredTensor]) -> list[object]:
    """Return what lies where in a file, each tensor with its dtype and shape."""
    return [(s.tensor, s.start, s.stop, _kind(tensors[s.tensor]) if s.tensor else None) for s in spans(file, tensors)]
