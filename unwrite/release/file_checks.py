"""The checks of a release's files: listed, consistent, and the base's wherever unwrite does not write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import INDEX_FILE, WEIGHTS, index_of, stored_tensors
from unwrite.pipeline.runs import LOCK
from unwrite.release.base_source import base_text
from unwrite.release.set_aside import SetAside
from unwrite.release.signing import SIGNATURE, wrong_signature
from unwrite.release.untrusted import entries, is_plain_file, is_release_name, leads_out, one_line
from unwrite.schema.artifacts import Artifact
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.paths import CARD, DIRECTIONS, EVALUATION, MANIFEST, PROMPT_TEMPLATE, RECIPE
from unwrite.schema.strict_json import strict_json

if TYPE_CHECKING:
    from unwrite.release.statement import Manifest

CheckOutcome = Literal["passed", "failed", "not checked"]

ADDED_FILES = {path.name for path in (RECIPE, DIRECTIONS, EVALUATION, CARD, LOCK, PARAMS_FILE)} | {
    INDEX_FILE,
    PROMPT_TEMPLATE,
}
"""Files that unwrite adds to those of the base."""
UNLISTED_FILES = {MANIFEST, SIGNATURE}
"""Files of a release that no manifest lists."""


class Check(Artifact):
    """The result of one check: the problems (`details`), and other information (`notes`)."""

    name: str
    outcome: CheckOutcome
    about: str
    details: list[str]
    notes: list[str] = Field(default_factory=list)


def checked(name: str, about: str, problems: Iterable[str], notes: Iterable[str] = ()) -> Check:
    """Return a check that was made: failed if there are problems. Its text is made safe to print, in one line each."""
    details = list(map(one_line, problems))
    outcome: CheckOutcome = "failed" if details else "passed"
    return Check(name=name, outcome=outcome, about=one_line(about), details=details, notes=list(map(one_line, notes)))


def not_checked(name: str, about: str) -> Check:
    """Return a check that could not be made, and what it needs."""
    return Check(name=name, outcome="not checked", about=one_line(about), details=[])


def check_files(release: Path, manifest: Manifest, sums: Mapping[str, str], aside: SetAside) -> Check:
    """Check that the folder holds exactly the files that the manifest lists, with the sha256 it lists.

    What git and download tools left there is set aside, and said.
    """
    listed = {subject.name: subject.digest.get("sha256", "") for subject in manifest.subject}
    wrong = [
        f"{name} has sha256 {sums[name][:12]}…, the manifest lists {expected[:12]}…"
        for name, expected in listed.items()
        if name in sums and sums[name] != expected
    ]
    wrong += _wrong_sizes(release, manifest)
    files = {*listed, *UNLISTED_FILES}
    problems = [*_named_twice(manifest), *_missing(release, listed), *_unexpected(release, files, aside.names)]
    left = [f"set aside, as git or a download tool left it: {', '.join(aside.found)}"] if aside.found else []
    return checked("files", f"{len(listed)} files, by sha256", [*problems, *aside.problems, *wrong], left)


def _named_twice(manifest: Manifest) -> Iterator[str]:
    for descriptors in (manifest.subject, manifest.dependencies("base")):
        counts = Counter(one.name for one in descriptors)
        yield from (f"the manifest names {name!r} twice" for name, count in counts.items() if count > 1)


def _wrong_sizes(release: Path, manifest: Manifest) -> Iterator[str]:
    for one in manifest.subject:
        if is_plain_file(release, one.name):
            size, listed = (release / one.name).stat().st_size, one.annotations.get("size")
            if size != listed:
                yield f"{one.name} has {size} bytes, the manifest lists {listed}"


def _missing(release: Path, listed: Collection[str]) -> Iterator[str]:
    for name in sorted(listed):
        if not is_release_name(name):
            yield f"the manifest names {name!r}, which is not a plain file name in the folder"
        elif not (release / name).exists():
            yield f"{name} is missing"


def _unexpected(release: Path, files: Collection[str], aside: Collection[str]) -> Iterator[str]:
    for path in entries(release):
        name = path.relative_to(release).as_posix()
        if name in aside:
            continue
        if path.is_symlink() and leads_out(release, path):
            yield f"{name} is a link that leads out of the folder"
        elif not is_plain_file(release, name):
            yield f"{name} is not a plain file"
        elif name not in files:
            yield f"{name} is not in the manifest"


def check_other_files(
    release: Path,
    manifest: Manifest,
    sums: Mapping[str, str],
    base_shards: Collection[str] | None,
    base_sums: Mapping[str, str] | None,
) -> Check:
    """Check every file that is not a shard of the checkpoint: the base's to the byte, or one that unwrite writes.

    The base's files are read from the base; without it, only the manifest can tell them.
    """
    about = "configuration, tokenizer and all other files are the base's"
    if base_shards is None or base_sums is None:
        about += ", according to the manifest"
        base_sums = _declared_sums(manifest)
        base_shards = {name for name in base_sums if name.endswith(WEIGHTS)}
    missing = [f"{name} of the base is missing" for name in base_sums if name not in base_shards and name not in sums]
    different = []
    for name in sorted(sums.keys() - base_shards - (ADDED_FILES - base_sums.keys())):
        if name not in base_sums:
            different.append(f"{name} is neither in the base nor written by unwrite")
        elif sums[name] != base_sums[name]:
            different.append(f"{name} differs from the base's")
    wrong_index = [f"{INDEX_FILE} does not list the checkpoint"] if _has_wrong_index(release, base_sums) else []
    return checked("other files", about, [*missing, *different, *wrong_index])


def _has_wrong_index(release: Path, base_sums: Mapping[str, str]) -> bool:
    """Return whether there is an index that merging would not have written next to a single file."""
    if INDEX_FILE in base_sums or not is_plain_file(release, INDEX_FILE):
        return False
    try:
        return bool(strict_json((release / INDEX_FILE).read_bytes()) != index_of(stored_tensors(release)))
    except (UnwriteError, ValueError, RecursionError):
        return True


def check_base(
    manifest: Manifest,
    base_sums: Mapping[str, str] | None,
    base_files: Collection[str] = (),
    left_out: Collection[str] = (),
) -> Check:
    """Check that the base is the one that the release declares, and that each of the base's files is declared.

    What the base's folder holds besides (`left_out`) is told, and what of it the manifest does not name.
    """
    stated = manifest.external.base
    name = base_text(stated)
    if base_sums is None:
        return not_checked("base", f"pass it with --base: {name}")
    declared = _declared_sums(manifest)
    missing = [f"{file} is missing" for file in declared if file not in base_sums]
    different = [
        f"{file} is not the declared one" for file, sha256 in declared.items() if base_sums.get(file, sha256) != sha256
    ]
    left_out = [name if name in manifest.internal.left_out else f"{name} (not in the manifest)" for name in left_out]
    notes = [f"the release leaves out, of the base: {', '.join(left_out)}"] if left_out else []
    undeclared = [f"{file} is not declared" for file in base_files if file not in declared]
    remedy = "use that commit" if stated.get("commit") else "use the folder it was made from"
    if stated.get("gguf_sha256"):
        remedy = "use that file with that version, or the folder it was made from"
    hint = [f"the release declares {name}: {remedy}"] if missing or different else []
    return checked("base", f"it is the declared one: {name}", [*missing, *different, *undeclared, *hint], notes)


def _declared_sums(manifest: Manifest) -> dict[str, str]:
    return {one.name: one.digest.get("sha256", "") for one in manifest.dependencies("base")}


def check_signature(release: Path, public_key: Path | None, aside: Collection[str] = ()) -> Check:
    """Check the signature with a public key, if one is given; `aside` are the names that are set aside.

    Raises:
        UnwriteError: the key cannot be used, or the optional packages are not installed.
    """
    about = f"{SIGNATURE}, by OpenSSF model signing"
    if public_key is not None:
        wrong = wrong_signature(release, public_key, aside)
        return checked("signature", about, [] if wrong is None else [wrong])
    signed = (release / SIGNATURE).is_file()
    return not_checked("signature", f"{about}: pass the public key with --key" if signed else "the release has none")
