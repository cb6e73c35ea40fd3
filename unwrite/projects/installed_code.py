"""Sums of the code that each stage runs, so that an upgrade of unwrite reruns the stages that it changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.files.records import write_json
from unwrite.pipeline.environment import package_versions
from unwrite.pipeline.runs import read_run
from unwrite.projects.pipeline_text import CODE, code_of_stages, demo_pipeline
from unwrite.schema.artifacts import Artifact, as_json, read_artifact
from unwrite.schema.parsing import FORMAT

_HOME = Path(__file__).parents[2]  # the folder that the package lies in


class StageCode(Artifact):
    """The code that a stage runs: how many files, and the sha256 of their sums and names, as `sha256sum` prints them.

    The version of unwrite is no part of it: one that changes none of these files changes nothing.
    """

    format: Literal[2] = FORMAT
    stage: str
    files: int
    sha256: str


def installed_code(home: Path = _HOME) -> list[StageCode]:
    """Return the sum of the code of every stage.

    Args:
        home: the folder that the package lies in.
    """
    codes = code_of_stages(demo_pipeline())
    sums = {name: sha256_of(home / name) for name in sorted(set[str]().union(*codes.values()))}
    return [_code(stage, {name: sums[name] for name in sorted(files)}) for stage, files in codes.items()]


def changed_code(codes: Iterable[StageCode], folder: Path = CODE) -> list[str]:
    """Return the stages whose code is not the one listed last; none of those that were never listed.

    Args:
        codes: the installed code.
        folder: the lists.
    """
    return [code.stage for code in codes if (last := _listed(code.stage, folder)) is not None and last != code]


def list_installed_code(codes: Iterable[StageCode], folder: Path = CODE) -> None:
    """Write the sum of each stage's code to a file of its own."""
    for code in codes:
        if _listed(code.stage, folder) != code:
            write_json(folder / f"{code.stage}.json", as_json(code))


def upgrade_text(changed: Iterable[str]) -> str:
    """Return which stages run again because their code has changed, and the versions; empty if none has.

    Args:
        changed: names of the stages.
    """
    stages = [name for name in changed if _version_of_run(name) is not None]
    if not stages:
        return ""
    before = ", ".join(sorted({_version_of_run(name) or "" for name in stages}))
    now = package_versions(["unwrite"]).get("unwrite", "of a clone")
    return f"unwrite {now} in place of {before}: other code of {', '.join(stages)}."


def _code(stage: str, sums: dict[str, str]) -> StageCode:
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items())
    return StageCode(stage=stage, files=len(sums), sha256=hashlib.sha256(lines.encode()).hexdigest())


def _listed(stage: str, folder: Path) -> StageCode | None:
    try:
        return read_artifact(StageCode, folder / f"{stage}.json", "list_code")
    except UnwriteError:
        return None


def _version_of_run(stage: str) -> str | None:
    """Return the version of unwrite that a stage last ran with; None if it has not run."""
    try:
        return read_run(stage).environment.packages.get("unwrite", "of a clone")
    except UnwriteError:
        return None
