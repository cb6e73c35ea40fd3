"""The files of an edited checkpoint, written from the base's in one pass: read, edited, hashed and written together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from unwrite.editing.changes import TensorChange
from unwrite.editing.on_disk import merged_spans
from unwrite.errors import UnwriteError
from unwrite.files.hashing import check_digest, verify_files
from unwrite.files.safetensors import ByteRange, StoredTensor
from unwrite.files.threads import in_threads
from unwrite.schema.artifacts import FileDigest


class _MergedFile(NamedTuple):
    """The size of a file, its sha256 in the base and in the release."""

    size: int
    base_sum: str
    merged_sum: str


def merge_files(
    base_folder: Path,
    folder: Path,
    files: Sequence[FileDigest],
    tensors: Mapping[str, StoredTensor],
    changes: Mapping[str, TensorChange],
    *,
    advance: Callable[[int], None],
    threads: int,
    measure: Callable[[str, bytes, bytes], None] = lambda *_: None,
) -> list[FileDigest]:
    """Write every file of the base into `folder`, its tensors changed, several files at once.

    Args:
        base_folder: the folder of the base.
        folder: the folder to write to.
        files: the base's files, as they were pinned.
        tensors: the base's tensors, by name.
        changes: the changes of tensors, by name.
        advance: called with 1 after each changed tensor.
        threads: number of files written at once; their bytes do not depend on it.
        measure: called with each block of a changed tensor: its name, the base's bytes and the edited ones.

    Returns:
        The files that were written, the largest first.

    Raises:
        UnwriteError: a file is not the one that was pinned, or a change cannot be computed.
    """
    lock = Lock()

    def count(tensor: str | None) -> None:
        if tensor in changes:
            with lock:
                advance(1)

    def merge(file: FileDigest, end_if_stopped: Callable[[], None]) -> FileDigest:
        spans = merged_spans(base_folder / file.name, tensors, changes)
        merged = _write(folder / file.name, _measured(spans, changes, measure), count, end_if_stopped)
        check_digest(base_folder / file.name, file, merged.size, merged.base_sum)
        return FileDigest(name=file.name, size=merged.size, sha256=merged.merged_sum)

    # The largest first, so that it does not keep a single thread busy at the end.
    return in_threads(merge, sorted(files, key=lambda file: -file.size), threads)


@contextmanager
def base_errors_first(base_folder: Path, files: Sequence[FileDigest]) -> Iterator[None]:
    """Report a base that is not the pinned one, instead of the errors that follow from that.

    Args:
        base_folder: the folder of the base.
        files: the base's files, as they were pinned; they are hashed only after an error.

    Raises:
        UnwriteError: the error of the block, or instead that a file is not the one that was pinned.
    """
    try:
        yield
    except UnwriteError:
        verify_files(base_folder, files)
        raise


def _measured(
    spans: Iterator[tuple[ByteRange, Iterator[tuple[bytes, bytes]]]],
    changes: Mapping[str, TensorChange],
    measure: Callable[[str, bytes, bytes], None],
) -> Iterator[tuple[ByteRange, Iterator[tuple[bytes, bytes]]]]:
    """Pass the spans on, and each block of a changed tensor to `measure` on the way."""

    def passed(tensor: str, blocks: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for base_bytes, merged_bytes in blocks:
            measure(tensor, base_bytes, merged_bytes)
            yield base_bytes, merged_bytes

    for span, blocks in spans:
        if span.tensor is not None and span.tensor in changes:
            yield span, passed(span.tensor, blocks)
        else:
            yield span, blocks


def _write(
    path: Path,
    spans: Iterator[tuple[ByteRange, Iterator[tuple[bytes, bytes]]]],
    count: Callable[[str | None], None],
    end_if_stopped: Callable[[], None],
) -> _MergedFile:
    base_sum, merged_sum = hashlib.sha256(), hashlib.sha256()
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream:
        for span, blocks in spans:
            for base_bytes, merged_bytes in blocks:
                end_if_stopped()
                base_sum.update(base_bytes)
                merged_sum.update(merged_bytes)
                stream.write(merged_bytes)
            count(span.tensor)
        size = stream.tell()
        stream.flush()
        os.fsync(stream.fileno())  # now, so that the disk writes while the next file is computed
    return _MergedFile(size, base_sum.hexdigest(), merged_sum.hexdigest())
