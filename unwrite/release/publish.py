"""Assembly of a release: model, recipe, card, figures, parameters and lock in one folder that its manifest lists.

A problem that would make the release less than it claims is refused, unless the publisher allows it; then the manifest
records it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, check_free_space, copy_file
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json, write_text
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.lock import exclusive_run
from unwrite.pipeline.runs import LOCK, StageRun, read_run, stage_names
from unwrite.release.manifest import build_manifest, manifest_json, read_manifest
from unwrite.release.problems import (
    Problem,
    find_changed_copies,
    find_project_problems,
    kinds_of,
    refuse_failed_gates,
    refuse_problems,
)
from unwrite.release.signing import SIGNATURE, sign_release
from unwrite.release.untrusted import entries
from unwrite.release.verdict import verification_text
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import Base, FileDigest, PromptOrigins, Recipe, read_artifact, read_base
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import CARD, EVALUATION, MANIFEST, MODEL, PROMPT_TEMPLATE, RECIPE, SOURCES, TEMPLATE, TOKENS
from unwrite.schema.text import read_text
from unwrite.terms import Override


def assemble_release(
    target: Path,
    *,
    allowed: Collection[Override] = (),
    private_key: Path | None = None,
    notes: Path | None = None,
    threads: int = 1,
) -> list[Override]:
    """Write the folder of a release, whole or not at all, and verify it against its base.

    Args:
        target: folder to write; one that holds an earlier release is replaced.
        allowed: kinds of problems to let pass: uncommitted changes (`dirty`), stages out of date (`stale`), artifacts
            that are not what their stage made (`altered`), paths that reveal whose machine it was (`paths`), or a
            release that does not verify (`unverified`).
        private_key: PEM file of the key to sign the release with, if any.
        notes: the publisher's own Markdown, appended to the card.
        threads: number of files read at once during verification.

    Returns:
        The kinds of problems that were found and let pass; the manifest records them.

    Raises:
        UnwriteError: a problem is not allowed, a stage has not run, or the target holds something else.
    """
    _refuse_target(target)
    notes_text = None if notes is None else _read_notes(notes)
    with exclusive_run("unwrite publish"):
        refuse_failed_gates()
        runs = [read_run(stage) for stage in stage_names()]
        base, recipe = read_base(), read_artifact(Recipe, RECIPE, "select_trial")
        source = pinned_folder(base)
        _refuse_base_folder(target, source)
        problems = find_project_problems(allowed)
        files = _release_files()
        check_free_space(target, sum(path.stat().st_size for path in files.values()))
        with atomic_folder(target) as folder:
            digests = _copy_files(files, folder)
            problems += find_changed_copies(digests, runs, allowed)
            if notes_text is not None:
                digests[CARD] = _append_notes(folder / CARD.name, notes_text)
            write_manifest = partial(_write_manifest, folder, base, recipe, list(digests.values()), runs)
            write_manifest(allowed=kinds_of(problems))
            unverified = _find_unverified(folder, source, allowed, threads)
            if unverified:
                problems += unverified
                write_manifest(allowed=kinds_of(problems))
            if private_key is not None:
                sign_release(folder, private_key)
    return kinds_of(problems)


def _refuse_target(target: Path) -> None:
    """Refuse a target that is part of the project, or that holds anything but the files of a release."""
    project, folder = Path.cwd(), target.resolve()
    if folder in (project, *project.parents) or folder.is_relative_to(project / "artifacts"):
        raise UnwriteError(f"{target} belongs to the project: choose another folder.")
    if not target.exists():
        return
    others = [target.name] if not target.is_dir() else sorted(_names_of_no_release(target))
    if others:
        raise UnwriteError(
            f"{target} contains {others[0]}, which is not part of a release and would be lost: choose another folder.\n"
            "To update a repository, publish to a new folder and copy it over, or use --repository."
        )


def _names_of_no_release(folder: Path) -> set[str]:
    names = {path.relative_to(folder).as_posix() for path in entries(folder)} - {MANIFEST, SIGNATURE}
    if not (folder / MANIFEST).is_file():
        return names
    return names - {subject.name for subject in read_manifest(folder).subject}


def _refuse_base_folder(target: Path, source: Path) -> None:
    if target.resolve() in (source.resolve(), *source.resolve().parents):
        raise UnwriteError(f"{target} holds the base model: choose another folder.")


def _read_notes(notes: Path) -> str:
    return read_text(notes).strip()


def _release_files() -> dict[str, Path]:
    """Return every file that a release is copied from, by its name there, sorted."""
    model = {path.relative_to(MODEL).as_posix(): path for path in entries(MODEL) if path.name != MANIFEST}
    made = {path.name: path for path in (CARD, EVALUATION, PARAMS_FILE, LOCK)}
    template = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").template
    if template is not None and template.source is not None:
        made[PROMPT_TEMPLATE] = TOKENS / TEMPLATE
    return dict(sorted((model | made).items()))


def _copy_files(files: Mapping[str, Path], folder: Path) -> dict[Path, FileDigest]:
    """Copy files into a folder; return the digest of each copy, by its source."""
    digests = {}
    for name, path in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        copy_file(path, folder / name)
        digests[path] = digest_of(folder / name, name)
    return digests


def _append_notes(card: Path, notes: str) -> FileDigest:
    text = card.read_text(encoding="utf-8").rstrip()
    write_text(card, f"{text}\n\n## Publisher's notes\n\n{notes}\n")
    return digest_of(card)


def _write_manifest(
    folder: Path,
    base: Base,
    recipe: Recipe,
    files: Sequence[FileDigest],
    runs: Sequence[StageRun],
    *,
    allowed: Sequence[Override],
) -> None:
    manifest = build_manifest(base, recipe, stored_tensors(folder), files, runs, allowed=allowed)
    write_json(folder / MANIFEST, manifest_json(manifest))


def _find_unverified(folder: Path, source: Path, allowed: Collection[Override], threads: int) -> list[Problem]:
    verification = verify_release(folder, source, threads=threads)
    if verification.passed:
        return []
    problems = [Problem("unverified", verification_text(verification))]
    refuse_problems(problems, allowed)
    return problems
