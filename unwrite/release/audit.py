"""The audit of a project: every artifact against dvc.lock, and against the sums that its stage recorded when it ran.

dvc.lock alone proves nothing: DVC restores a damaged object of its cache as the result, and `dvc commit -f` records
whatever is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.hashing import sha256_of
from unwrite.pipeline.runs import LOCK, StageRun, files_of, read_run, run_file, stage_names
from unwrite.schema.artifacts import Base, SetFiles, read_artifact
from unwrite.schema.paths import BASE, MANIFEST, MARKER_FILES, PROMPT_FILES, SET_FILES
from unwrite.schema.safe_yaml import load_yaml

_MISSING = "is missing"

Outs = Mapping[str, str]


class Finding(NamedTuple):
    """Something that is not as it was made: the stage that makes it, and what is wrong."""

    stage: str
    problem: str


def audit_project() -> list[Finding]:
    """Check every file that a stage made according to dvc.lock.

    Returns:
        What is wrong, by stage in the order of dvc.lock.

    Raises:
        UnwriteError: dvc.lock is missing or damaged, or this is not a DVC repository.
    """
    findings, cached = [], _cached()
    runs: dict[str, StageRun] = {}
    locked, stages = _locked(), set(stage_names())
    for stage, all_outs in locked.items():
        if stage not in stages:
            continue  # dvc.lock keeps the stages of earlier pipelines
        outs = {name: md5 for name, md5 in all_outs.items() if Path(name) != run_file(stage)}
        findings += [Finding(stage, problem) for problem in _against_lock(outs, cached)]
        try:
            runs[stage] = read_run(stage)
        except UnwriteError as error:
            findings.append(Finding(stage, str(error)))
            continue
        findings += [Finding(stage, problem) for problem in _against_run(runs[stage], outs)]
    findings += _between(list(runs.values()))
    findings += [Finding("pin_model", problem) for problem in _base_files()]
    findings += [Finding("list_inputs", problem) for problem in _set_files()]
    order = list(locked)
    return sorted(findings, key=lambda finding: order.index(finding.stage) if finding.stage in order else -1)


def audit_text(findings: Sequence[Finding]) -> str:
    """Return the findings as a table, and what to do."""
    if not findings:
        return "Every artifact is what its stage made: dvc.lock, the stages' own sums and the manifests agree."
    table = tabulate(findings, ["stage", "problem"], "simple", disable_numparse=True)
    if all(_MISSING in finding.problem for finding in findings):
        restore = "dvc checkout, dvc pull, or git checkout for what git keeps"
        return f"{table}\n\nTo restore them: {restore}. To make them again: dvc repro."
    return f"{table}\n\nTo make them again: dvc repro -f {findings[0].stage}, then dvc repro for the stages after it."


def _locked() -> dict[str, Outs]:
    """Return the md5 of every out by path, by stage."""
    try:
        stages: Any = load_yaml(LOCK.read_text(encoding="utf-8"))["stages"]
        return {name: {out["path"]: out["md5"] for out in entry.get("outs", [])} for name, entry in stages.items()}
    except FileNotFoundError:
        raise UnwriteError(f"{LOCK} is missing: no stage has run here. Run `make repro` first.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnwriteError(f"{LOCK} is damaged ({error}): restore it from git.") from None


def _against_lock(outs: Outs, cached: Callable[[str], Path]) -> Iterator[str]:
    for name, md5 in outs.items():
        path = Path(name)
        if not path.exists():
            yield f"{name} {_MISSING}"
        elif _md5_of(path) != md5:
            yield f"{name} is not what dvc.lock records"
        for damaged in _damaged_objects(cached, md5):
            yield f"DVC's cached copy of {name} is damaged: delete {damaged}"


def _damaged_objects(cached: Callable[[str], Path], md5: str) -> Iterator[Path]:
    """Yield the cached objects whose content does not match their name: an out's, and those that a folder lists."""
    path = cached(md5)
    if not path.is_file():
        return
    if _md5_of_file(path) != md5.removesuffix(".dir"):
        yield path
    elif md5.endswith(".dir"):
        for entry in json.loads(path.read_bytes()):
            yield from _damaged_objects(cached, entry["md5"])


def _cached() -> Callable[[str], Path]:
    """Return a function from an md5 to its path in DVC's cache."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        cache = Repo().cache.local
    except DvcException as error:
        raise UnwriteError(
            f"This is not a DVC repository ({reason_of(error)}): run the command in the project's folder."
        ) from None
    return lambda md5: Path(cache.oid_to_path(md5))


def _against_run(run: StageRun, outs: Outs) -> Iterator[str]:
    made = {file.name: file.sha256 for file in run.writes}
    for name, sha256 in made.items():
        if Path(name).is_file() and sha256_of(Path(name)) != sha256:
            yield f"{name} is not what the stage wrote when it ran"
    for out in outs:
        for file in files_of(Path(out)) if Path(out).exists() else []:
            if file.as_posix() not in made:
                yield f"{file} did not exist when the stage ran"
        if (Path(out) / MANIFEST).is_file():
            yield from _against_manifest(Path(out))


def _against_manifest(folder: Path) -> Iterator[str]:
    from unwrite.release.manifest import read_manifest

    try:
        listed = {subject.name: subject.digest["sha256"] for subject in read_manifest(folder).subject}
    except (UnwriteError, KeyError) as error:
        yield str(error)
        return
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    for name in sorted(listed.keys() - present):
        yield f"{folder / name} {_MISSING}"
    for name in sorted(present - listed.keys()):
        yield f"{folder / name} is not in the manifest"
    for name in sorted(listed.keys() & present):
        if sha256_of(folder / name) != listed[name]:
            yield f"{folder / name} is not the one in the manifest"


def _between(runs: Sequence[StageRun]) -> Iterator[Finding]:
    """Yield the files that a stage read and that are not what the stage before it wrote, or have changed since."""
    made = {file.name: (run.stage, file.sha256) for run in runs for file in run.writes}
    for run in runs:
        for file in run.reads:
            maker, sha256 = made.get(file.name, (run.stage, file.sha256))
            if sha256 != file.sha256:
                yield Finding(run.stage, f"it read a different {file.name} than {maker} wrote")
            elif file.name not in made and Path(file.name).is_file() and sha256_of(Path(file.name)) != file.sha256:
                yield Finding(run.stage, f"{file.name} has changed since it was read")


def _base_files() -> Iterator[str]:
    """Yield the files of a local base model that are no longer those that were pinned."""
    if not BASE.is_file():
        return
    try:
        base = read_artifact(Base, BASE, "pin_model")
    except UnwriteError as error:
        yield str(error)
        return
    source = Path(base.source)
    pinned = {source / file.name: file.sha256 for file in base.files} if base.commit is None else {}
    if base.gguf is not None:
        pinned = {source: base.gguf.sha256}
    for path, sha256 in pinned.items():
        if not path.is_file():
            yield f"{path} {_MISSING}"
        elif sha256_of(path) != sha256:
            yield f"{path} is not the one that was pinned"


def _set_files() -> Iterator[str]:
    """Yield the files of prompt sets that are no longer those that were listed."""
    for listing in (PROMPT_FILES, SET_FILES, MARKER_FILES):
        if not listing.is_file():
            continue
        for file in read_artifact(SetFiles, listing, "list_inputs").files:
            if not Path(file.name).is_file():
                yield f"{file.name} {_MISSING}"
            elif sha256_of(Path(file.name)) != file.sha256:
                yield f"{file.name} has changed since it was read"


def _md5_of(path: Path) -> str:
    """Return the md5 that DVC gives a file or folder, computed from its bytes: DVC itself trusts its own database."""
    if path.is_file():
        return _md5_of_file(path)
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    tree = Tree()  # type: ignore[no-untyped-call]
    for file in path.rglob("*"):
        if file.is_file():
            tree.add(file.relative_to(path).parts, Meta(), HashInfo("md5", _md5_of_file(file)))
    tree.digest()
    return str(tree.hash_info.value)


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
