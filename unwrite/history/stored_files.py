"""Artifacts of one side of a comparison, copied into a folder: from a revision, the workspace, or a release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from unwrite.history.revisions import WORKSPACE, dvc_errors_told, project_folder, read_stored, resolved_commit
from unwrite.schema.paths import DIRECTIONS

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem


def copy_artifacts(argument: str | None, paths: Sequence[Path], target: Path) -> None:
    """Copy those artifacts that a side has; a release holds them under their names alone.

    Args:
        argument: as in `load_side`: a folder with a directions file, or a git revision; None: the workspace.
        paths: files and folders of files, relative to the project.
        target: an existing folder; each artifact gets its name there.

    Raises:
        UnwriteError: the argument is neither, or DVC cannot read the revision.
    """
    release = None if argument is None else Path(argument)
    found: Iterator[tuple[str, tuple[str, bytes]]]
    if release is not None and (release / DIRECTIONS.name).is_file():
        found = ((path.name, content) for path in paths for content in _files_of(release / path.name))
    else:
        found = _stored(argument, paths)
    for name, (relative, data) in found:
        place = target / name / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def _files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file as (empty, content), or each file of a folder as (name, content)."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file():
                yield file.name, file.read_bytes()
    elif path.is_file():
        yield "", path.read_bytes()


def _stored(revision: str | None, paths: Sequence[Path]) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yield what git or DVC has of a revision; in the workspace, what is there goes before what DVC recorded."""
    from dvc.api import DVCFileSystem

    commit = None if revision is None else resolved_commit(revision)
    with dvc_errors_told(WORKSPACE if revision is None else revision):
        project = DVCFileSystem(rev=commit, subrepos=True)
        folder = PurePosixPath("/") if commit is None else project_folder()
        for path in paths:
            here = [] if commit is not None else list(_files_of(Path(project.repo.root_dir) / path))
            for content in here or _recorded(project, folder / path):
                yield path.name, content


def _recorded(project: DVCFileSystem, path: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    """Yield a recorded file, or the files of a recorded folder, as far as they are in git, the cache or the remote."""
    from dvc_data.index import DataIndexDirError

    try:
        inside = [""] if not project.isdir(str(path)) else project.ls(str(path), detail=False)
    except DataIndexDirError:  # the folder's list of files is in no cache
        return
    for name in (PurePosixPath(one).name for one in inside):
        data = read_stored(project, path / name)
        if data is not None:
            yield name, data
