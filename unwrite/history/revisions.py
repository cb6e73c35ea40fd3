"""The sides of a comparison: a git revision (through DVC's cache or remote), the workspace, a file or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError, git_refusal, reason_of
from unwrite.history.side import STAGE, Side, StoredDirections, build_side, read_directions
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import DIRECTIONS, RECIPE

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

WORKSPACE = "the workspace"


def load_side(argument: str | None) -> Side:
    """Load one side of a comparison.

    Args:
        argument: a directions file, a folder that holds one (with its edit.json and params.yaml, if it has them), or
            else a git revision: anything that git or DVC resolves to a commit, experiments included. None: the
            workspace.

    Raises:
        UnwriteError: the argument is none of these, or its directions are damaged, or missing and not of a revision.
    """
    if argument is None:
        return _repository_side(None)
    path = Path(argument)
    if path.is_file():
        return build_side(argument, None, directions=read_directions(path, argument), recipe=None, params=None)
    if (path / DIRECTIONS.name).is_file():
        return _folder_side(argument, path)
    return _repository_side(argument)


def _folder_side(name: str, folder: Path) -> Side:
    recipe, params = (_bytes(folder / path.name) for path in (RECIPE, PARAMS_FILE))
    directions = read_directions(folder / DIRECTIONS.name, name)
    return build_side(name, None, directions=directions, recipe=recipe, params=params)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _repository_side(revision: str | None) -> Side:
    """Load the project at a revision, or as it is in the workspace."""
    from dvc.api import DVCFileSystem

    name = WORKSPACE if revision is None else revision
    commit = None if revision is None else resolved_commit(revision)
    with dvc_errors_told(name):
        project = DVCFileSystem(rev=commit, subrepos=True)
        # At a revision, DVC's root is that of the git repository; in the workspace, that of the project.
        folder = PurePosixPath("/") if commit is None else project_folder()
        params, recipe, data = (read_stored(project, folder / path) for path in (PARAMS_FILE, RECIPE, DIRECTIONS))
        md5 = _recorded_md5(project, folder / DIRECTIONS)
    if data is not None:
        _refuse_damaged(data, md5, name)
        directions = _parsed_directions(data, name)
        return build_side(name, commit, directions=directions, recipe=recipe, params=params)
    if revision is None:
        raise UnwriteError(_missing_in_workspace(recorded=md5 is not None))
    if md5 is None:
        raise UnwriteError(
            f"{name} has no {DIRECTIONS}: name a revision where it exists (`git log -- dvc.lock` lists them)."
        )
    note = f"{DIRECTIONS} of {name} is in no cache ({_searched()}), so directions cannot be compared"
    return build_side(name, commit, directions=None, recipe=recipe, params=params, notes=[note])


def resolved_commit(revision: str) -> str:
    """Return the commit that git or DVC (an experiment) resolves a name to.

    Raises:
        UnwriteError: neither knows the name, this is not a repository, or git refuses to read it.
    """
    from dvc.scm import SCM, RevError, SCMError, resolve_rev

    neither = f"{revision!r} is neither a file nor a folder with a {DIRECTIONS.name}"
    try:
        scm = SCM(".")
        if not revision:  # DVC would resolve it to HEAD
            raise RevError("no name")
        return str(scm.resolve_commit(resolve_rev(scm, revision)).hexsha)
    except (RevError, AttributeError):  # the latter for a name that is not a commit, such as HEAD:params.yaml
        raise UnwriteError(
            f"{neither}, and git has no such revision: `git log` and `dvc exp show` list those it has "
            "(in a shallow clone, `git fetch --unshallow` gets the rest)."
        ) from None
    except SCMError:
        raise UnwriteError(
            f"{neither}, and this is not a git repository: run the command in the project's folder."
        ) from None
    except Exception as error:  # of the library that reads git, such as for a repository of another owner
        raise git_refusal(reason_of(error)) from error


def project_folder() -> PurePosixPath:
    """Return the project's folder in its git repository, wherever in the project we are; without DVC, its root."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCM

    try:
        return PurePosixPath("/", Path(Repo.find_root()).relative_to(SCM(".").root_dir))
    except NotDvcRepoError:
        return PurePosixPath("/")


def read_stored(project: DVCFileSystem, path: PurePosixPath) -> bytes | None:
    """Read a file of the project from git, the workspace, DVC's cache or its remote; None if it is in none of them."""
    try:
        data: bytes = project.read_bytes(str(path))
    except FileNotFoundError:
        return None
    return data


def _recorded_md5(project: DVCFileSystem, path: PurePosixPath) -> str | None:
    """Return the md5 that DVC recorded of a file; None if it is in the workspace, in git or nowhere."""
    try:
        md5: str | None = project.info(str(path)).get("md5")
    except FileNotFoundError:
        return None
    return md5


def _refuse_damaged(data: bytes, md5: str | None, name: str) -> None:
    # DVC itself does not check when it reads.
    if md5 is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise UnwriteError(
            f"DVC's copy of {DIRECTIONS} of {name} is damaged: its md5 is not {md5}, as recorded.\n"
            f"Delete files/md5/{md5[:2]}/{md5[2:]} from .dvc/cache (or the remote), then fetch (or push) it again."
        )


def _parsed_directions(data: bytes, name: str) -> StoredDirections:
    with TemporaryDirectory() as folder:
        file = Path(folder, DIRECTIONS.name)
        file.write_bytes(data)
        return read_directions(file, f"{DIRECTIONS} of {name}")


def _missing_in_workspace(*, recorded: bool) -> str:
    if not recorded:
        return f"{WORKSPACE} has no {DIRECTIONS}: run `dvc repro {STAGE}`."
    return (
        f"{DIRECTIONS} of {WORKSPACE} is in no cache ({_searched()}): run `dvc repro`, or "
        "`dvc fetch --remote NAME` if another remote has it."
    )


def _searched() -> str:
    """Return which remote was searched in addition to the cache."""
    from dvc.repo import Repo

    # The file system's own repository has a made-up remote where none is set.
    remote = Repo(uninitialized=True).config["core"].get("remote")
    return "no default remote is set" if remote is None else f"the remote {remote!r} was searched too"


@contextmanager
def dvc_errors_told(name: str) -> Iterator[None]:
    """Raise errors of DVC and of a remote's plugin in one line; they share no base class (botocore's, for one)."""
    try:
        yield
    except Exception as error:
        raise UnwriteError(
            f"DVC cannot read {name} ({type(error).__name__}: {reason_of(error)}); run `dvc fetch` for details."
        ) from error
