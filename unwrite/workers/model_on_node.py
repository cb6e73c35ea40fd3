"""The pinned model on the node of a worker: found by its path or fetched from the hub, and checked once a node."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError
from unwrite.files.hashing import check_digest, verify_files
from unwrite.files.remembered import remembered_digests
from unwrite.models.folder import local_folder
from unwrite.models.loading import dtype_of_model, load_model
from unwrite.pipeline.base import pinned_folder
from unwrite.schema.artifacts import Base, FileDigest
from unwrite.schema.params import Runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_STATE = Path(".unwrite/nodes")


class ModelOnNode:
    """A pinned model, ready to be loaded.

    Attributes:
        base: record of the model.
        folder: folder with its files on this node.
    """

    def __init__(self, base: Base, project: Path) -> None:
        """Find the model's files and check them.

        Args:
            base: record of the model.
            project: the project's folder.

        Raises:
            UnwriteError: this node lacks a path, or a file is not the one that was pinned.
        """
        self.base = base
        self.folder = folder_on_node(base, project)

    def dtype(self, runtime: Runtime) -> str:
        """Return the name of the dtype that the model computes in on this node, placed as `runtime` says."""
        return dtype_of_model(self.folder, self.base.compute_dtype, runtime, self.base.quantization)

    def load(self, dtype: str, runtime: Runtime) -> PreTrainedModel:
        """Load the model, placed as `runtime` says."""
        return load_model(self.folder, dtype, runtime, self.base.quantization)


def folder_on_node(base: Base, project: Path) -> Path:
    """Return the folder of a pinned model on this node, its files checked; the hub's is fetched where it is missing.

    Raises:
        UnwriteError: as in `ModelOnNode`.
    """
    if base.commit is None:
        path = project / local_folder(base.source)
        if not path.exists():
            raise UnwriteError(
                f"{path} is missing on {platform.node()}: keep the project and the model on storage that every node "
                "shares at the same path, or name the model by its hub id (model.source), which each node fetches."
            )
    folder = pinned_folder(base, weights=False)
    check_once_a_node(folder, base.files, project)
    return folder


def check_once_a_node(folder: Path, recorded: Sequence[FileDigest], project: Path) -> None:
    """Check files against their sums; of the workers of one node, the first reads them, and the others wait for it.

    Args:
        folder: the folder with the files.
        recorded: the sums.
        project: the project's folder, which remembers what was read; where it is missing, every worker reads.

    Raises:
        UnwriteError: a file is missing, or is not the recorded one.
    """
    if not project.is_dir():
        verify_files(folder, recorded)
        return
    from filelock import FileLock

    state = project / _STATE
    state.mkdir(parents=True, exist_ok=True)
    _refuse_missing(folder, recorded)
    with FileLock(state / f"{platform.node()}.lock"):
        paths = [folder / file.name for file in recorded]
        digests = remembered_digests(paths, state / f"{platform.node()}.json")
    for path, file, found in zip(paths, recorded, digests, strict=True):
        check_digest(path, file, found.size, found.sha256)


def _refuse_missing(folder: Path, recorded: Iterable[FileDigest]) -> None:
    for file in recorded:
        path = folder / file.name
        if not path.is_file():
            raise UnwriteError(f"{path} is missing on {platform.node()}, but the model was pinned with it.")
