"""Where directions come from: a git revision (by way of DVC's cache or remote), the workspace, a file or folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from torch import Tensor

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.tensors import read_metadata, read_tensors
from unwrite.history.diff import Side, flattened
from unwrite.schema.artifacts import Recipe
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import DIRECTIONS, RECIPE

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

WORKSPACE = "the workspace"
TENSORS = ("baseline_mean", "directions", "target_mean")
_STAGE = "compute_directions"


def load_side(argument: str | None) -> Side:
    """One side of a comparison.

    Args:
        argument: A directions file, a folder that holds one (with its edit.json and params.yaml, if they are there) or,
            failing both, a git revision: whatever git or DVC calls a commit, experiments included. None: the workspace.

    Raises:
        UnwriteError: It is none of these, its tensors are nowhere to be had, or its file is damaged or another kind.
    """
    if argument is None:
        return _repository_side(None)
    path = Path(argument)
    if path.is_file():
        return _file_side(argument, path, None)
    if (path / DIRECTIONS.name).is_file():
        return _file_side(argument, path / DIRECTIONS.name, path)
    return _repository_side(argument)


def _file_side(name: str, file: Path, folder: Path | None) -> Side:
    """A directions file, and what lies beside it in its folder if that was given."""
    tensors, settings = _directions(file, name)
    recipe, params = (_bytes(folder / path.name) if folder else None for path in (RECIPE, PARAMS_FILE))
    return _side(name, None, tensors=tensors, settings=settings, recipe=recipe, params=params)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _repository_side(revision: str | None) -> Side:
    """The project at a revision, or as it lies in the workspace."""
    from dvc.api import DVCFileSystem

    name = WORKSPACE if revision is None else revision
    commit = None if revision is None else _commit(revision)
    with _clear_errors(name):
        project = DVCFileSystem(rev=commit)
        params, recipe = (_read(project, path) for path in (PARAMS_FILE, RECIPE))
    data = _directions_bytes(project, name, revision)
    with TemporaryDirectory() as folder:
        file = Path(folder, DIRECTIONS.name)
        file.write_bytes(data)
        tensors, settings = _directions(file, f"{DIRECTIONS} of {name}")
    return _side(name, commit, tensors=tensors, settings=settings, recipe=recipe, params=params)


def _commit(revision: str) -> str:
    """The commit that git or DVC (an experiment) means by a name.

    Raises:
        UnwriteError: Neither knows it, or there is no repository here.
    """
    from dvc.scm import SCM, RevError, SCMError, resolve_rev

    none = f"{revision!r} is no file, and no folder that holds a {DIRECTIONS.name}"
    try:
        scm = SCM(".")
        if not revision:  # which DVC would take for HEAD
            raise RevError("no name")
        return str(scm.resolve_commit(resolve_rev(scm, revision)).hexsha)
    except (RevError, AttributeError):  # the latter of what names no commit, such as HEAD:params.yaml
        raise UnwriteError(
            f"{none}, and git knows no such revision: `git log` and `dvc exp show` list those it knows "
            "(in a shallow clone, `git fetch --unshallow` gets the rest)."
        ) from None
    except SCMError:
        raise UnwriteError(f"{none}, and this is no git repository: run it in the folder of the project.") from None


def _read(project: DVCFileSystem, path: Path) -> bytes | None:
    """A file of the project, from git, the workspace, DVC's cache or its remote; None if it isn't there."""
    try:
        data: bytes = project.read_bytes(f"/{path}")  # from the project's folder, wherever in it we are
    except FileNotFoundError:
        return None
    return data


def _directions_bytes(project: DVCFileSystem, name: str, revision: str | None) -> bytes:
    with _clear_errors(name):
        data = _read(project, DIRECTIONS)
        recorded = _recorded_md5(project)
    if data is None and recorded is None:
        remedy = (
            f"run `dvc repro {_STAGE}`"
            if revision is None
            else "name a revision at which it had been made (`git log -- dvc.lock` lists them)"
        )
        raise UnwriteError(f"{name} has no {DIRECTIONS}: {remedy}.")
    if data is None:
        raise UnwriteError(_nowhere(name, "dvc fetch" if revision is None else "dvc fetch --all-commits"))
    if recorded is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() != recorded:
        # DVC itself does not look when it reads.
        raise UnwriteError(
            f"DVC's copy of {DIRECTIONS} of {name} is damaged: its md5 is not the {recorded} that was recorded.\n"
            f"Delete files/md5/{recorded[:2]}/{recorded[2:]} from .dvc/cache (or the remote), fetch (or push) it again."
        )
    return data


def _recorded_md5(project: DVCFileSystem) -> str | None:
    """What DVC recorded of the directions; None if they lie in the workspace or in git itself, or nowhere."""
    try:
        md5: str | None = project.info(f"/{DIRECTIONS}").get("md5")
    except FileNotFoundError:
        return None
    return md5


def _nowhere(name: str, fetch: str) -> str:
    from dvc.repo import Repo

    # The file system's own repository has a made-up remote where none is set.
    remote = Repo(uninitialized=True).config["core"].get("remote")
    place = "and no default remote is set" if remote is None else f"nor on the remote {remote!r}"
    return (
        f"{DIRECTIONS} of {name} is not in DVC's cache, {place}: run `{fetch} --remote NAME` if another remote has it; "
        "else `dvc push` it from where it was made, with that revision checked out."
    )


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """What DVC and a remote's plugin raise, in one line; they have no base class in common (botocore's, for one)."""
    try:
        yield
    except Exception as error:
        raise UnwriteError(
            f"DVC can't read {name} ({type(error).__name__}: {reason_of(error)}); `dvc fetch` says more."
        ) from error


def _directions(file: Path, what: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The tensors of a directions file in float64, and the settings they were computed with, if it has them.

    Raises:
        UnwriteError: It is damaged, or holds something else.
    """
    expected = f"expected {', '.join(TENSORS)} of one shape [positions, residual indices, hidden size]"
    try:
        tensors = read_tensors(file, _STAGE)
    except UnwriteError:
        raise UnwriteError(
            f"{what} is damaged or no safetensors file; expected what `dvc repro {_STAGE}` writes."
        ) from None
    shapes = {name: list(tensor.shape) for name, tensor in sorted(tensors.items())}
    if tuple(shapes) != TENSORS or len(set(map(tuple, shapes.values()))) > 1 or tensors["directions"].ndim != 3:
        held = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:4]) or "nothing"
        raise UnwriteError(f"{what} holds no directions: it has {held}{' …' * (len(shapes) > 4)}; {expected}.")
    tensors = {name: tensor.double() for name, tensor in tensors.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UnwriteError(f"{what} holds NaN or infinity: make it again with `dvc repro -f {_STAGE}`.")
    try:
        return tensors, read_metadata(file, _STAGE)
    except UnwriteError:
        return tensors, None


def _side(
    name: str,
    commit: str | None,
    *,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any] | None,
    recipe: bytes | None,
    params: bytes | None,
) -> Side:
    """A side from what was read. Without a params.yaml, the parameters are those that the tensors were stored with."""
    notes = []
    parameters = None if params is None else _parameters(params)
    if params is not None and parameters is None:
        notes.append(f"{PARAMS_FILE} of {name} is no YAML mapping")
    whole = parameters is not None
    if parameters is None and settings:
        parameters = flattened({"directions": settings})
    if parameters is None:
        notes.append(f"the parameters of {name} are not known")
    parsed = None
    if recipe is None:
        notes.append(f"{name} comes without an {RECIPE.name}, so recipes can't be compared")
    else:
        try:
            parsed = Recipe.model_validate_json(recipe)
        except ValidationError:
            notes.append(f"{RECIPE.name} of {name} is damaged or of another version, so recipes can't be compared")
    return Side(name, commit, tensors, parameters, whole, parsed, notes)


def _parameters(data: bytes) -> dict[str, Any] | None:
    """Everything in a params.yaml that can change a result, as it stands: an older one may break today's schema."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        sections = YAML(typ="safe").load(data.decode("utf-8-sig"))
    except (YAMLError, ValueError):  # UnicodeDecodeError, or a date such as 2024-13-45
        return None
    if not isinstance(sections, Mapping):
        return None
    return flattened({name: section for name, section in sections.items() if name != "runtime"})
