"""The files of an edited checkpoint, written from the base's in one pass: read, edited, hashed and written together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unwrite.editing.changes import TensorChange
from unwrite.editing.edit_size import EditSize, EditSizes
from unwrite.editing.on_disk import merged_spans
from unwrite.errors import UnwriteError
from unwrite.files.hashing import check_digest, verify_files
from unwrite.files.safetensors import StoredTensor
from unwrite.files.threads import FileMap, Tick
from unwrite.schema.artifacts import FileDigest


class MergedFile(NamedTuple):
    """A file that was written, and the size of the edit of each tensor in it."""

    digest: FileDigest
    sizes: list[EditSize]


class _Job(NamedTuple):
    """What is the same for every file: arguments of `merge_files`."""

    base_folder: Path
    folder: Path
    tensors: Mapping[str, StoredTensor]
    changes: Mapping[str, TensorChange]


def merge_files(
    base_folder: Path,
    folder: Path,
    files: Sequence[FileDigest],
    tensors: Mapping[str, StoredTensor],
    changes: Mapping[str, TensorChange],
    *,
    advance: Callable[[int], None],
    map_files: FileMap,
) -> list[MergedFile]:
    """Write every file of the base into `folder`, its tensors changed, several files at once.

    Args:
        base_folder: the folder of the base.
        folder: the folder to write to.
        files: the base's files, as they were pinned.
        tensors: the base's tensors, by name.
        changes: the changes of tensors, by name.
        advance: called with 1 for each changed tensor.
        map_files: what works on several files at once; their bytes do not depend on it.

    Returns:
        The files that were written, the largest first.

    Raises:
        UnwriteError: a file is not the one that was pinned, or a change cannot be computed.
    """
    for file in files:
        (folder / file.name).parent.mkdir(exist_ok=True)
    # The largest first, so that it does not keep a single thread busy at the end.
    largest_first = sorted(files, key=lambda file: -file.size)
    return map_files(partial(_merge, _Job(base_folder, folder, tensors, changes)), largest_first, advance)


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


def _merge(job: _Job, file: FileDigest, tick: Tick) -> MergedFile:
    """Write one file, and check on the way that the base's is the pinned one."""
    source, sizes = job.base_folder / file.name, EditSizes(job.tensors)
    base_sum, merged_sum = hashlib.sha256(), hashlib.sha256()
    with (job.folder / file.name).open("wb") as stream:
        for span, blocks in merged_spans(source, job.tensors, job.changes):
            tensor = span.tensor if span.tensor in job.changes else None
            for base_bytes, merged_bytes in blocks:
                tick()
                if tensor is not None:
                    sizes.add(tensor, base_bytes, merged_bytes)
                base_sum.update(base_bytes)
                merged_sum.update(merged_bytes)
                stream.write(merged_bytes)
            tick(int(tensor is not None))
        size = stream.tell()
        stream.flush()
        os.fsync(stream.fileno())  # now, so that the disk writes while the next file is computed
    check_digest(source, file, size, base_sum.hexdigest())
    return MergedFile(FileDigest(name=file.name, size=size, sha256=merged_sum.hexdigest()), sizes.sizes())
