"""A release put together: model, recipe, card, figures, parameters and lock, in one folder that its manifest lists.

What would make a release less than it claims is refused, unless its publisher says to let it pass; then the manifest
says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.atomic import atomic_folder, refuse_full_disk
from unwrite.files.checkpoints import copy_file, stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json, write_text
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.git import uncommitted_changes
from unwrite.pipeline.lock import exclusive_run
from unwrite.pipeline.runs import LOCK, StageRun, read_run, stage_names
from unwrite.release.audit import audit_project
from unwrite.release.manifest import build_manifest, manifest_json, public_path, read_manifest
from unwrite.release.signing import SIGNATURE, sign_release
from unwrite.release.verify import verification_text, verify_release
from unwrite.schema.artifacts import FileDigest, Recipe, read_artifact, read_base
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import CARD, EVALUATION, MANIFEST, MODEL, RECIPE
from unwrite.terms import OVERRIDES, Override

_REMEDIES: dict[Override, str] = {
    "dirty": "commit them",
    "stale": "run `dvc repro`",
    "altered": "run `unwrite audit` to see all, and make them again",
    "paths": "name files from the project's folder",
    "unverified": "run `dvc repro -f merge_model`",
}
_NAMED = 3


def assemble_release(
    target: Path,
    *,
    allowed: Collection[Override] = (),
    private_key: Path | None = None,
    notes: Path | None = None,
    threads: int = 1,
) -> list[Override]:
    """Writes the folder of a release, whole or not at all, and verifies it against its base.

    Args:
        target: The folder to write. One that holds an earlier release is replaced.
        allowed: What to let pass: uncommitted changes (`dirty`), stages out of date (`stale`), artifacts that are not
            what their stage made (`altered`), paths that tell whose machine it was (`paths`), or a release that does
            not verify (`unverified`). The manifest lists what was in fact let pass.
        private_key: Signs the release, if given.
        notes: Markdown of the publisher's own, to stand at the end of the card.
        threads: How many files are read at once when it is verified.

    Returns:
        What was in fact let pass.

    Raises:
        UnwriteError: Something of that kind is wrong and not allowed; a stage has not run; or the target holds
            something else.
    """
    _refuse_target(target)
    words = None if notes is None else _words(notes)
    with exclusive_run("unwrite publish"):
        runs = [read_run(stage) for stage in stage_names()]
        base, recipe = read_base(), read_artifact(Recipe, RECIPE, "select_trial")
        source = pinned_folder(base)
        if target.resolve() == source.resolve() or target.resolve() in source.resolve().parents:
            raise UnwriteError(f"{target} is where the base model lies: name another folder.")
        passed = [kind for kind in OVERRIDES[:-1] if _refused(kind, _problems(kind), allowed)]
        files = [*(path for path in sorted(MODEL.iterdir()) if path.name != MANIFEST), CARD, EVALUATION]
        files += [PARAMS_FILE, LOCK]
        refuse_full_disk(target, sum(path.stat().st_size for path in files))
        with atomic_folder(target) as folder:
            for path in files:
                copy_file(path, folder / path.name)
            digests = {path: digest_of(folder / path.name) for path in sorted(files, key=lambda path: path.name)}
            if "altered" not in passed and _refused("altered", list(_exchanged(digests, runs)), allowed):
                passed.append("altered")
            if words is not None:
                card = folder / CARD.name
                write_text(
                    card, f"{card.read_text(encoding='utf-8').rstrip()}\n\n## Notes of the publisher\n\n{words}\n"
                )
                digests[CARD] = digest_of(card)
            tensors = stored_tensors(folder)

            def declare(let_pass: list[Override]) -> None:
                manifest = build_manifest(base, recipe, tensors, digests.values(), runs, allowed=let_pass)
                write_json(folder / MANIFEST, manifest_json(manifest))

            declare(passed)
            verification = verify_release(folder, source, threads=threads)
            if not verification.passed and _refused("unverified", [verification_text(verification)], allowed):
                passed.append("unverified")
                declare(passed)
            if private_key is not None:
                sign_release(folder, private_key)
    return passed


def _words(notes: Path) -> str:
    try:
        return notes.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UnwriteError(f"{notes} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnwriteError(f"{notes} is not UTF-8: save it as UTF-8.") from None


def _refuse_target(target: Path) -> None:
    """Nothing is replaced but a release, and nothing that lies in it beside the release's own files."""
    here, there = Path.cwd(), target.resolve()
    if there in (here, *here.parents) or there.is_relative_to(here / "artifacts"):
        raise UnwriteError(f"{target} is the project's own: name another folder.")
    if not target.exists():
        return
    listed = {MANIFEST, SIGNATURE}
    if (target / MANIFEST).is_file():
        listed |= {subject.name for subject in read_manifest(target).subject}
    others = [target.name] if not target.is_dir() else sorted({path.name for path in target.iterdir()} - listed)
    if others:
        raise UnwriteError(
            f"{target} holds something that is of no release ({others[0]}) and would be lost: name another folder.\n"
            "To update a repository, publish to a new folder and copy it over, or use --repository."
        )


def _exchanged(digests: Mapping[Path, FileDigest], runs: Sequence[StageRun]) -> Iterator[str]:
    """Copied files that are not, now, what the stages wrote: somebody wrote to the artifacts meanwhile."""
    made = {Path(file.name): file.sha256 for run in runs for file in run.writes}
    manifest = read_manifest(MODEL)
    made |= {MODEL / subject.name: subject.digest.get("sha256", "") for subject in manifest.subject}
    for path, digest in digests.items():
        if path.is_relative_to("artifacts") and made.get(path) != digest.sha256:
            yield f"{path} is not what a stage wrote"


def _refused(kind: Override, problems: list[str], allowed: Collection[Override]) -> bool:
    """Whether there were problems that are let pass.

    Raises:
        UnwriteError: There are, and they are not.
    """
    if problems and kind not in allowed:
        more = f", and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UnwriteError(
            f"Not published: {'; '.join(problems[:_NAMED])}{more}.\n"
            f"Mend it ({_REMEDIES[kind]}), or publish it so with --allow {kind}, which the manifest will say."
        )
    return bool(problems)


def _problems(kind: Override) -> list[str]:
    found = {"dirty": _uncommitted, "stale": _stale, "altered": _altered, "paths": _paths}[kind]
    return list(found())


def _uncommitted() -> Iterator[str]:
    try:
        changed = uncommitted_changes()
    except UnwriteError as error:
        yield str(error)
        return
    if changed:
        yield f"uncommitted changes in {', '.join(changed[:_NAMED])}{' and others' if len(changed) > _NAMED else ''}"


def _stale() -> Iterator[str]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        status = Repo().status()
    except DvcException as error:
        raise UnwriteError(
            f"`dvc status` fails here ({reason_of(error)}): publish from the project's folder."
        ) from None
    yield from (f"{stage} is out of date" for stage in status)


def _altered() -> Iterator[str]:
    yield from (finding.problem for finding in audit_project())


def _paths() -> Iterator[str]:
    """Paths in the files that travel along which lead out of the project: they tell whose machine it was."""
    for file in (PARAMS_FILE, LOCK):
        for found in re.finditer(
            r"""(?:^|[\s"'])(~?/[\w.~-]+/[^\s"']*|[A-Za-z]:\\[^\s"']+)""", file.read_text("utf-8")
        ):
            if public_path(found[1]) != found[1]:
                yield f"{file} names {found[1]}"
