"""The files of a model, of extra prompt sets and of tasks with their sha256, for a stage that sees when they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.remembered import remembered_digests
from unwrite.models.folder import local_folder, parent_project
from unwrite.models.gguf_header import is_gguf
from unwrite.schema.artifacts import FileDigest, ModelFiles, SetFiles, TaskFiles, read_artifact
from unwrite.schema.params import PromptSource
from unwrite.schema.paths import JUDGE_FILES, MODEL_FILES
from unwrite.schema.text import refuse_endless

_STATES = {MODEL_FILES: Path(".unwrite/digests.json"), JUDGE_FILES: Path(".unwrite/judge_digests.json")}
"""The file that remembers digests, for each list: one of both would forget the files of the other."""
_SET_STATE = Path(".unwrite/set_digests.json")
_TASK_STATE = Path(".unwrite/task_digests.json")
# Other formats of the weights, which nothing reads.
_UNREAD = {".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"}


def list_model_files(source: str | None, listing: Path = MODEL_FILES) -> ModelFiles:
    """List the files of a model by name, size and sha256, reading only those that changed since the last time.

    A hub id has no files to list: its commit is pinned. A folder that is not on this machine keeps its last list, since
    a clone without the model has not changed it; whatever needs the model says that it is missing.

    Args:
        source: a folder, a GGUF file or a hub id; None if there is no model, which has no files.
        listing: where the list is kept: that of the model, or that of the classifier.
    """
    folder = None if source is None else local_folder(source)
    if folder is None or not (folder.is_dir() or (folder.is_file() and is_gguf(folder))):
        return _last(source, listing) or ModelFiles(source=source, files=[])
    project, state = parent_project(), _STATES[listing]
    state = state if state.exists() or project is None else project / state
    paths, parent = (sorted(_read_files(folder)), folder) if folder.is_dir() else ([folder], folder.parent)
    return ModelFiles(source=source, files=_digests(paths, parent, state))


def list_task_files(folder: str | None) -> TaskFiles:
    """List the files of a folder of benchmark tasks.

    Args:
        folder: as in `evaluate.harness.task_folder`.

    Raises:
        UnwriteError: there is no such folder. It is better to hear that before the search than after it.
    """
    if folder is None:
        return TaskFiles(folder=None, files=[])
    if not Path(folder).is_dir():
        raise UnwriteError(f"evaluate.harness.task_folder must be a folder with task definitions, got {folder}.")
    found = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    paths = sorted(path for path in found if not path.name.startswith("."))
    return TaskFiles(folder=folder, files=_digests(paths, Path(folder), _TASK_STATE))


def list_prompt_files(sources: Iterable[tuple[str, PromptSource]]) -> SetFiles:
    """List the files of prompt sets and of a chat template, once each; a hub id has none: its commit is pinned.

    Args:
        sources: each set's key in params.yaml, for messages, and how it is read.

    Raises:
        UnwriteError: a file is missing, or is none.
    """
    places = dict[Path, str]()
    for key, source in sources:
        path = Path(source.source)
        refuse_endless(path)
        if path.is_dir():
            places |= {file: key for file in path.rglob("*") if file.is_file()}
        elif source.revision is None or path.exists():
            places[path] = key
    return _listed(places)


def list_marker_files(paths: Iterable[str]) -> SetFiles:
    """List the marker files that extra prompt sets name, once each: dvc.yaml cannot, since their number is not fixed.

    Args:
        paths: as in params.yaml.

    Raises:
        UnwriteError: a file is missing, or is none.
    """
    return _listed({Path(name): "evaluate.sets" for name in paths})


def _listed(places: Mapping[Path, str]) -> SetFiles:
    """Return the digests of files, given the key of params.yaml that names each."""
    for path, key in places.items():
        refuse_endless(path)
        if not path.is_file():
            raise UnwriteError(f"{path} is missing: check {key} in params.yaml.")
    paths = sorted(places)
    digests = zip(paths, remembered_digests(paths, _SET_STATE), strict=True)
    return SetFiles(files=[digest.model_copy(update={"name": path.as_posix()}) for path, digest in digests])


def _digests(paths: Sequence[Path], folder: Path, state: Path) -> list[FileDigest]:
    """Return the digests of files, named as in their folder; only those that changed since the last time are read."""
    digests = zip(paths, remembered_digests(paths, state), strict=True)
    return [digest.model_copy(update={"name": path.relative_to(folder).as_posix()}) for path, digest in digests]


def _last(source: str | None, listing: Path) -> ModelFiles | None:
    try:
        last = read_artifact(ModelFiles, listing, "list_inputs")
    except UnwriteError:
        return None
    return last if last.source == source else None


def _read_files(folder: Path) -> Iterator[Path]:
    for path in [*folder.iterdir(), *folder.glob("*/*.jinja")]:
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _UNREAD:
            yield path
