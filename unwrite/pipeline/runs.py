"""Record the inputs, outputs and environment of one run of a stage: `artifacts/runs/<stage>.json`.

DVC's own record proves nothing: `dvc commit -f` turns any file into a result. The run itself takes these checksums, so
`unwrite audit` can tell what a stage wrote from what replaced it later, and the manifest of a release lists its inputs
by them. Records hold no commit and no time: equal runs give equal records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of, sha256_of
from unwrite.files.records import write_json
from unwrite.pipeline.environment import Environment, current_environment
from unwrite.schema.artifacts import Artifact, FileDigest, SetFiles, as_json, read_artifact
from unwrite.schema.params import Params
from unwrite.schema.parsing import FORMAT
from unwrite.schema.paths import MANIFEST, MARKER_FILES, PROMPT_FILES, RUNS, SET_FILES
from unwrite.schema.safe_yaml import load_yaml

PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
_LISTS = (PROMPT_FILES, SET_FILES, MARKER_FILES)
_MADE = "artifacts/"
_SOURCES = (".py", ".jinja", ".css", ".js")  # the project's own, which its commit identifies


class StageRun(Artifact):
    """One run of a stage: its sections of params.yaml, and every file it read or wrote, by path in the project.

    For a folder with a manifest, only the manifest is listed: it holds the checksums of the other files.
    """

    format: Literal[2] = FORMAT
    stage: str
    parameters: dict[str, Any]
    reads: list[FileDigest]
    writes: list[FileDigest]
    environment: Environment


def run_file(stage: str) -> Path:
    """Return the path of a stage's record."""
    return RUNS / f"{stage}.json"


def read_run(stage: str) -> StageRun:
    """Read the record of a stage's last run.

    Raises:
        UnwriteError: the record is missing or damaged.
    """
    return read_artifact(StageRun, run_file(stage), stage)


def read_runs(stages: Iterable[str], used: Iterable[Path]) -> list[StageRun]:
    """Read the records of some stages, and check that the files used are the ones that these stages wrote.

    Args:
        stages: names of the stages.
        used: files that these stages wrote.

    Raises:
        UnwriteError: a record is missing or damaged, or a used file is not the one that its stage wrote.
    """
    runs = [read_run(stage) for stage in stages]
    written = {file.name: (run.stage, file.sha256) for run in runs for file in run.writes}
    for path in used:
        stage, sha256 = written[path.as_posix()]
        if sha256_of(path) != sha256:
            raise UnwriteError(
                f"{path} is not what {stage} wrote when it ran: it was changed later. "
                f"Run `dvc repro -f {stage}` to recreate it."
            )
    return runs


def stage_names() -> list[str]:
    """Return the names of the stages that record their runs, in the order of the pipeline.

    Raises:
        UnwriteError: the current folder has no pipeline.
    """
    if not PIPELINE.is_file():
        raise UnwriteError(f"{PIPELINE} is missing: run this in the project folder.")
    return [name for name, entry in _stages().items() if not entry.get("always_changed")]


@contextmanager
def recorded(stage: str, params: Params) -> Iterator[Callable[[str | Environment | None], None]]:
    """Record the run of a stage: its inputs when this opens, its outputs and environment when this closes.

    A script that dvc.yaml does not name is not recorded, nor is a stage that always runs: its record would name another
    machine after every clone, though its result is the same.

    Yields:
        A function to call with the dtype that the stage's model computed in, if it ran one, or with the environment of
        the processes that ran it.

    Raises:
        UnwriteError: a file that the stage reads changed while it was running.
    """
    entry = _stages().get(stage) if PIPELINE.is_file() else None
    computed_in: list[str | Environment | None] = [None]
    if entry is None or entry.get("always_changed"):
        yield computed_in.append
        return
    deps = [_resolved(str(dep), params.model_dump(mode="json")) for dep in entry.get("deps", [])]
    reads = [dep for dep in deps if not dep.endswith(_SOURCES) or dep.startswith(_MADE)]
    before = _digests(reads)
    yield computed_in.append
    if changed := {file.name for file in {*before} ^ {*_digests(reads)}}:
        raise UnwriteError(f"{min(changed)} changed while {stage} was running; run it again.")
    run = StageRun(
        stage=stage,
        parameters=_parameters(entry.get("params", []), params),
        reads=before,
        writes=_digests(path for path in _outs(entry) if Path(path) != run_file(stage)),
        environment=last if isinstance(last := computed_in[-1], Environment) else current_environment(last),
    )
    write_json(run_file(stage), as_json(run))


def files_of(path: Path) -> list[Path]:
    """Return the files to record for a path: the file itself, or a folder's manifest, or all its files, sorted."""
    if not path.is_dir():
        return [path]
    manifest = path / MANIFEST
    return [manifest] if manifest.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _read_files(path: Path) -> list[Path]:
    """Return the files that a stage reads which depends on a path: a list of prompt files stands for those it names."""
    if path not in _LISTS or not path.is_file():
        return files_of(path)
    return [path, *(Path(file.name) for file in read_artifact(SetFiles, path, "list_inputs").files)]


def _stages() -> Mapping[str, Mapping[str, Any]]:
    stages: Mapping[str, Mapping[str, Any]] = load_yaml(PIPELINE.read_text(encoding="utf-8"))["stages"]
    return stages


def _parameters(tracked: Iterable[str], params: Params) -> dict[str, Any]:
    """Return the values of some sections (`judge`) and keys (`judge.markers`)."""
    values: dict[str, Any] = {}
    for name in tracked:
        section, _, key = name.partition(".")
        whole = getattr(params, section).model_dump(mode="json")
        values[section] = whole if not key else values.get(section, {}) | {key: whole[key]}
    return values


def _outs(entry: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for out in entry.get(kind, []):
            yield next(iter(out)) if isinstance(out, dict) else out


def _resolved(path: str, params: Mapping[str, Any]) -> str:
    """Return a path of dvc.yaml with `${section.key}` replaced by the value in params.yaml."""
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(reduce(getitem, match[1].split("."), params)), path)


def _digests(paths: Iterable[str]) -> list[FileDigest]:
    files = [file for path in paths for file in _read_files(Path(path)) if file.is_file()]
    return [digest_of(file).model_copy(update={"name": file.as_posix()}) for file in files]
