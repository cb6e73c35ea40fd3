"""What one run of a stage read, wrote and ran on, recorded as it ends: `artifacts/runs/<stage>.json`.

DVC's own record proves nothing: `dvc commit -f` makes whatever lies there a result. These sums are taken by the run
itself, so that `unwrite audit` can tell what a stage made from what somebody put in its place; and the manifest of a
release lists what it was made from by them. No commit and no time is in them: the same run gives the same record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Literal

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of, sha256_of
from unwrite.files.records import write_json
from unwrite.pipeline.environment import Environment, current_environment
from unwrite.schema.artifacts import Artifact, FileDigest, as_json, read_artifact
from unwrite.schema.params import Params
from unwrite.schema.parsing import FORMAT
from unwrite.schema.paths import MANIFEST, RUNS

PIPELINE = Path("dvc.yaml")
LOCK = Path("dvc.lock")
_SOURCES = (".py", ".jinja", ".css")  # the project's own, which its commit tells


class StageRun(Artifact):
    """One run of a stage: its sections of params.yaml, and every file it read or wrote, by path from the project.

    Of a folder with a manifest, the manifest alone is listed: it holds the others' sums.
    """

    format: Literal[2] = FORMAT
    stage: str
    parameters: dict[str, Any]
    reads: list[FileDigest]
    writes: list[FileDigest]
    environment: Environment


def run_file(stage: str) -> Path:
    """Where a stage's record lies."""
    return RUNS / f"{stage}.json"


def read_run(stage: str) -> StageRun:
    """The record of a stage's last run.

    Raises:
        UnwriteError: It is missing or damaged.
    """
    return read_artifact(StageRun, run_file(stage), stage)


def read_runs(stages: Iterable[str], used: Iterable[Path]) -> list[StageRun]:
    """The records of some stages, and that what is used of theirs is what they wrote.

    Raises:
        UnwriteError: A record is missing or damaged, or a used file is not the one that a stage wrote.
    """
    runs = [read_run(stage) for stage in stages]
    made = {file.name: (run.stage, file.sha256) for run in runs for file in run.writes}
    for path in used:
        stage, sha256 = made[path.as_posix()]
        if sha256_of(path) != sha256:
            raise UnwriteError(
                f"{path} is not what {stage} wrote when it ran: somebody changed it since. "
                f"Run `dvc repro -f {stage}` to have it made again."
            )
    return runs


def stage_names() -> list[str]:
    """Every stage of the pipeline, in its order.

    Raises:
        UnwriteError: There is no pipeline here.
    """
    if not PIPELINE.is_file():
        raise UnwriteError(f"{PIPELINE} is missing: run this in the project folder.")
    return list(_stages())


@contextmanager
def recorded(stage: str, params: Params) -> Iterator[None]:
    """While open, a stage runs; what it read is taken down before, what it wrote and ran on when it has ended.

    A script that dvc.yaml doesn't know is not recorded.

    Raises:
        UnwriteError: A file that the stage reads changed meanwhile.
    """
    entry = _stages().get(stage) if PIPELINE.is_file() else None
    if entry is None:
        yield
        return
    deps = [_resolved(str(dep), params.model_dump(mode="json")) for dep in entry.get("deps", [])]
    reads = [dep for dep in deps if not dep.endswith(_SOURCES)]
    before = _digests(reads)
    yield
    if changed := {file.name for file in {*before} ^ {*_digests(reads)}}:
        raise UnwriteError(
            f"{min(changed)} changed while {stage} ran, so that nobody knows what it read. Run it again."
        )
    run = StageRun(
        stage=stage,
        parameters=params.model_dump(mode="json", include=set(entry.get("params", []))),
        reads=before,
        writes=_digests(path for path in _outs(entry) if Path(path) != run_file(stage)),
        environment=current_environment(),
    )
    write_json(run_file(stage), as_json(run))


def files_of(path: Path) -> list[Path]:
    """The files that stand for a path: itself; of a folder its manifest, or else every file in it, sorted."""
    if not path.is_dir():
        return [path]
    manifest = path / MANIFEST
    return [manifest] if manifest.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _stages() -> Mapping[str, Mapping[str, Any]]:
    from ruamel.yaml import YAML

    stages: Mapping[str, Mapping[str, Any]] = YAML(typ="safe").load(PIPELINE)["stages"]
    return stages


def _outs(entry: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for out in entry.get(kind, []):
            yield next(iter(out)) if isinstance(out, dict) else out


def _resolved(path: str, params: Mapping[str, Any]) -> str:
    """A path of dvc.yaml with what params.yaml says in place of `${section.key}`."""
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(reduce(getitem, match[1].split("."), params)), path)


def _digests(paths: Iterable[str]) -> list[FileDigest]:
    files = [file for path in paths for file in files_of(Path(path)) if file.is_file()]
    return [digest_of(file).model_copy(update={"name": file.as_posix()}) for file in files]
