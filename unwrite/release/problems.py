"""Problems that make a release less than it claims, each refused unless its publisher allows it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError, reason_of
from unwrite.pipeline.git import uncommitted_changes
from unwrite.pipeline.runs import LOCK, StageRun
from unwrite.release.audit import audit_project
from unwrite.release.manifest import read_manifest
from unwrite.release.public_values import public_path
from unwrite.schema.artifacts import FileDigest, read_artifact
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.gate_values import gate_text
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import EVALUATION, MODEL
from unwrite.terms import OVERRIDES, Override

_REMEDIES: dict[Override, str] = {
    "dirty": "commit them",
    "stale": "run `dvc repro`",
    "altered": "run `unwrite audit` to see everything, then run those stages again",
    "paths": "use files in the project's folder",
    "unverified": "run `dvc repro -f merge_model`",
}
_LISTED = 3
# A path that starts at the root, in a home folder or on a drive.
_ABSOLUTE = re.compile(r"""(?:^|[\s"'])(~?/[\w.~-]+/[^\s"']*|[A-Za-z]:\\[^\s"']+)""")


class Problem(NamedTuple):
    """One problem, the `--allow` value that lets it pass, and the remedy, where it is not that of all of the kind."""

    kind: Override
    text: str
    remedy: str | None = None


def kinds_of(problems: Iterable[Problem]) -> list[Override]:
    """Return the kinds of some problems, once each, in the order of `--allow`."""
    found = {problem.kind for problem in problems}
    return [kind for kind in OVERRIDES if kind in found]


def refuse_problems(problems: Iterable[Problem], allowed: Collection[Override]) -> None:
    """Refuse problems that are not allowed.

    Raises:
        UnwriteError: a problem is not allowed; those of its kind are listed, with the remedy.
    """
    refused = [problem for problem in problems if problem.kind not in allowed]
    if not refused:
        return
    kind = refused[0].kind
    texts = [problem.text for problem in refused if problem.kind == kind]
    more = f", and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    raise UnwriteError(
        f"Not published: {'; '.join(texts[:_LISTED])}{more}.\n"
        f"Fix this ({refused[0].remedy or _REMEDIES[kind]}), or pass --allow {kind}; the manifest records it."
    )


def refuse_failed_gates() -> None:
    """Refuse to publish a model that does not keep a gate; nothing lets that pass but another gate in params.yaml.

    Raises:
        UnwriteError: a gate failed; it is named with its figure, bound and value.
    """
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    failed = [gate_text(gate) for gate in evaluation.gates if not gate.passed]
    if failed:
        raise UnwriteError(
            f"Not published: {'; '.join(failed)}.\n"
            "Improve the edit, or state the bound that it keeps (evaluate.gates), and run `dvc repro`."
        )


def find_project_problems(allowed: Collection[Override]) -> list[Problem]:
    """Return every problem of the project as it is now, all of them allowed.

    Raises:
        UnwriteError: a problem is not allowed.
    """
    finders = {"dirty": _uncommitted, "stale": _stale, "altered": _altered, "paths": _private_paths}
    found: list[Problem] = []
    for kind in OVERRIDES:
        if kind not in finders:
            continue  # found later, when the release is verified
        problems = list(finders[kind]())
        refuse_problems(problems, allowed)  # before the next finder runs: some take minutes
        found += problems
    return found


def find_changed_copies(
    copies: Mapping[Path, FileDigest], runs: Sequence[StageRun], allowed: Collection[Override]
) -> list[Problem]:
    """Return the copied artifacts that are not what the stages wrote, all of them allowed.

    They changed after the audit.

    Args:
        copies: digest of each copy, by the path it was copied from.
        runs: record of every stage.
        allowed: kinds of problems to let pass.

    Raises:
        UnwriteError: a copy is not what a stage wrote, and that is not allowed.
    """
    made = {Path(file.name): file.sha256 for run in runs for file in run.writes}
    made |= {MODEL / subject.name: subject.digest.get("sha256", "") for subject in read_manifest(MODEL).subject}
    problems = [
        Problem("altered", f"{path} is not what a stage wrote")
        for path, digest in copies.items()
        if path.is_relative_to("artifacts") and made.get(path) != digest.sha256
    ]
    refuse_problems(problems, allowed)
    return problems


def _uncommitted() -> Iterator[Problem]:
    try:
        changed = uncommitted_changes()
    except UnwriteError as error:
        yield Problem("dirty", str(error).rstrip("."), "git must be able to tell the commit")
        return
    if changed:
        others = " and others" if len(changed) > _LISTED else ""
        yield Problem("dirty", f"uncommitted changes in {', '.join(changed[:_LISTED])}{others}")


def _stale() -> Iterator[Problem]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        status = Repo().status()
    except DvcException as error:
        raise UnwriteError(
            f"`dvc status` failed ({reason_of(error)}): run `unwrite publish` in the project's folder."
        ) from None
    for stage, changes in status.items():
        if changes != ["always changed"]:
            yield Problem("stale", f"{stage} is out of date")


def _altered() -> Iterator[Problem]:
    yield from (Problem("altered", finding.problem) for finding in audit_project())


def _private_paths() -> Iterator[Problem]:
    """Yield paths that lead out of the project, in files that travel with the release: they reveal whose machine."""
    for file in (PARAMS_FILE, LOCK):
        for found in _ABSOLUTE.finditer(file.read_text("utf-8")):
            if public_path(found[1]) != found[1]:
                yield Problem("paths", f"{file} names {found[1]}")
