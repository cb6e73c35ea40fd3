"""The files in a model's folder and in one of tasks, with their sha256, for a stage that sees when they change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.remembered import remembered_digests
from unwrite.models.folder import local_folder, parent_project
from unwrite.schema.artifacts import ModelFiles, TaskFiles, read_artifact
from unwrite.schema.paths import MODEL_FILES

_STATE = Path(".unwrite/digests.json")
_TASK_STATE = Path(".unwrite/task_digests.json")
# Other formats of the weights, which nothing reads.
_UNREAD = {".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"}


def list_model_files(source: str) -> ModelFiles:
    """List the files of a model by name, size and sha256, reading only those that changed since the last time.

    A hub id has no files to list: its commit is pinned. A folder that is not on this machine keeps its last list, since
    a clone without the model has not changed it; whatever needs the model says that it is missing.

    Args:
        source: a folder or a hub id.
    """
    folder = local_folder(source)
    if not folder.is_dir():
        return _last(source) or ModelFiles(source=source, files=[])
    project = parent_project()
    state = _STATE if _STATE.exists() or project is None else project / _STATE
    paths = sorted(_read_files(folder))
    names = [path.relative_to(folder).as_posix() for path in paths]
    digests = zip(names, remembered_digests(paths, state), strict=True)
    return ModelFiles(source=source, files=[digest.model_copy(update={"name": name}) for name, digest in digests])


def list_task_files(folder: str | None) -> TaskFiles:
    """List the files of a folder of benchmark tasks; whatever runs the tasks says that the folder is missing.

    Args:
        folder: as in `evaluate.harness.task_folder`.
    """
    if folder is None:
        return TaskFiles(folder=None, files=[])
    found = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    paths = sorted(path for path in found if not path.name.startswith("."))
    digests = zip(paths, remembered_digests(paths, _TASK_STATE), strict=True)
    files = [digest.model_copy(update={"name": path.relative_to(folder).as_posix()}) for path, digest in digests]
    return TaskFiles(folder=folder, files=files)


def _last(source: str) -> ModelFiles | None:
    try:
        last = read_artifact(ModelFiles, MODEL_FILES, "list_model")
    except UnwriteError:
        return None
    return last if last.source == source else None


def _read_files(folder: Path) -> Iterator[Path]:
    for path in [*folder.iterdir(), *folder.glob("*/*.jinja")]:
        if path.is_file() and not path.name.startswith(".") and path.suffix not in _UNREAD:
            yield path
