"""Whether a release is its base plus the declared edit and nothing more, from the two folders alone.

A manifest can be rewritten to match whatever was done to the files. So nothing is believed that can be computed: every
tensor that is not declared is compared with the base's to the byte, every one that is with the edit made anew from the
base, the recipe and the directions.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field
from tabulate import tabulate

from unwrite.core.kernel import kernel_weight
from unwrite.errors import UnwriteError, reason_of
from unwrite.files.checkpoints import INDEX_FILE, WEIGHTS, index_of, model_files, shard_files, stored_tensors
from unwrite.files.hashing import sha256_of
from unwrite.files.threads import in_threads
from unwrite.pipeline.runs import LOCK
from unwrite.release.manifest import Manifest, edited_patterns, read_manifest, tensor_edits
from unwrite.release.signing import SIGNATURE, check_signature
from unwrite.release.untrusted import is_plain_file, is_plain_name, leads_out, printable
from unwrite.schema.artifacts import Artifact, Recipe
from unwrite.schema.params import PARAMS_FILE
from unwrite.schema.parsing import FORMAT, parse_record
from unwrite.schema.paths import CARD, DIRECTIONS, EVALUATION, MANIFEST, RECIPE

if TYPE_CHECKING:
    from torch import Tensor

    from unwrite.release.compare import ReleaseComparison, TensorComparison

CheckOutcome = Literal["passed", "failed", "not checked"]

# What a release may hold beside the base's files. The hub adds .gitattributes, and is asked for no say in it.
OURS = {path.name for path in (RECIPE, DIRECTIONS, EVALUATION, CARD, LOCK, PARAMS_FILE)} | {INDEX_FILE}
_ARTIFACTS = {RECIPE.name, DIRECTIONS.name, EVALUATION.name}
_TENSORS = {"directions", "target_mean", "baseline_mean"}
_BESIDE = 1e-4  # the share of a tensor's numbers that may be one rounding beside: more would be room for something else
_UNLISTED = {MANIFEST, SIGNATURE, ".gitattributes"}
_NAMED = 20  # of a long list of differences, what a person is shown; JSON has them all


class Check(Artifact):
    """One thing that was looked at: what is wrong (`details`), and what else is worth knowing (`notes`)."""

    name: str
    outcome: CheckOutcome
    about: str
    details: list[str]
    notes: list[str] = Field(default_factory=list)


class TensorCounts(Artifact):
    """The tensors of the checkpoint: as they should be, to the byte; or all of them off by roundings alone."""

    all: int
    declared: int
    exact: int
    rounded: int
    differing: int


class Verification(Artifact):
    """What a verification found. `passed`: nothing is wrong; `complete`: everything was looked at.

    `rounded_numbers` are numbers of edited tensors that are one unit in the last place beside what was computed here.
    """

    format: Literal[2] = FORMAT
    passed: bool
    complete: bool
    checks: list[Check]
    tensors: TensorCounts | None
    rounded_numbers: int


class _Recipe(NamedTuple):
    recipe: Recipe
    directions: Mapping[str, Tensor]


def verify_release(
    release: Path, base: Path | None = None, *, public_key: Path | None = None, threads: int = 1
) -> Verification:
    """Checks a release, against its base if that is given.

    Args:
        release: Its folder.
        base: The folder of the base model.
        public_key: PEM file of the key that is said to have signed it.
        threads: How many files are read at once.

    Returns:
        Everything that was found, whatever failed first.

    Raises:
        UnwriteError: There is no manifest to check by, or a key or base that is no such thing.
    """
    manifest = read_manifest(release)
    shards = None if base is None else set(shard_files(base))
    signature = _check_signature(release, public_key)
    listed = {subject.name: subject.digest.get("sha256", "") for subject in manifest.subject}
    recipe, unusable = _read_recipe(release)
    comparison, unfit = (None, []) if base is None or recipe is None else _compare(release, base, recipe, threads)
    sums = dict(comparison.release_sums) if comparison is not None else {}
    present = sorted(path.name for path in release.iterdir() if is_plain_file(release, path.name))
    sums |= _sums(release, [name for name in present if name not in sums and name not in _UNLISTED], threads)
    named = {*sums, *(one.name for one in manifest.dependencies("base"))} - OURS
    base_sums = None if base is None else _base_sums(base, named, comparison, threads)
    checks = [
        _check("files", f"{len(listed)} files, by sha256", [*_strays(release, manifest), *_wrong_sums(listed, sums)]),
        _check("recipe", f"{RECIPE.name} and {DIRECTIONS.name}", unusable or _inconsistent(recipe)),
        _check(
            "manifest",
            "what it declares is what the recipe says, and the checkpoint has",
            [*_undeclared(manifest, recipe), *_unlisted(manifest, release), *_exchanged(manifest, sums)],
        ),
        _check_companions(release, manifest, sums, shards, base_sums),
        _check_base(manifest, base_sums),
        *_check_tensors(comparison, unfit, recipe),
        signature,
    ]
    return Verification(
        passed=all(check.outcome != "failed" for check in checks),
        complete=all(check.outcome != "not checked" or check.name == "signature" for check in checks),
        checks=checks,
        tensors=None if comparison is None else _counts(comparison),
        rounded_numbers=0 if comparison is None else sum(map(_rounded_numbers, comparison.tensors.values())),
    )


def verification_text(verification: Verification) -> str:
    """The table that a person reads, and the verdict in the last line."""
    signs = {"passed": "ok", "failed": "FAILED", "not checked": "not checked"}
    # What a check is about reads as its success: of one that failed, the list below says what is true.
    abouts = [f"see below ({len(c.details)})" if c.outcome == "failed" else c.about for c in verification.checks]
    rows = [[c.name, signs[c.outcome], about] for c, about in zip(verification.checks, abouts, strict=True)]
    lines = [tabulate(rows, tablefmt="plain")]
    for check in verification.checks:
        if check.details or check.notes:
            lines += ["", f"{check.name}:", *_shortened(check.details), *_shortened(check.notes)]
    return "\n".join([*lines, "", _verdict(verification)])


def _shortened(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_NAMED])
    if len(lines) > _NAMED:
        yield f"  and {len(lines) - _NAMED} more"


def _verdict(verification: Verification) -> str:
    if not verification.passed:
        failed = [check.name for check in verification.checks if check.outcome == "failed"]
        return f"NOT VERIFIED: {', '.join(failed)} failed."
    if not verification.complete:
        return "Nothing wrong was found, but not everything was checked: give the base model with --base."
    rounded = verification.rounded_numbers
    beside = f", {rounded:,} numbers of it one rounding beside" if rounded else ", to the bit"
    return f"VERIFIED: the release is the base plus the declared edit{beside}, and nothing more."


def _check(name: str, about: str, wrong: Iterable[str], notes: Iterable[str] = ()) -> Check:
    details = list(map(printable, wrong))
    outcome: CheckOutcome = "failed" if details else "passed"
    return Check(name=name, outcome=outcome, about=printable(about), details=details, notes=list(map(printable, notes)))


def _not_checked(name: str, about: str) -> Check:
    return Check(name=name, outcome="not checked", about=printable(about), details=[])


def _strays(release: Path, manifest: Manifest) -> Iterator[str]:
    """What is in the folder and shouldn't be, and what should be and isn't; names that lead out of it too."""
    for names in ([one.name for one in manifest.subject], [one.name for one in manifest.dependencies("base")]):
        yield from (f"the manifest names {name!r} twice" for name, count in Counter(names).items() if count > 1)
    listed = {subject.name for subject in manifest.subject}
    for name in sorted(listed):
        if not is_plain_name(name):
            yield f"the manifest names {name!r}, which is not a plain file name in the folder"
        elif not (release / name).exists():
            yield f"{name} is missing"
    for path in sorted(release.iterdir()):
        if path.is_symlink() and leads_out(release, path):
            yield f"{path.name} is a link that leads out of the folder"
        elif not is_plain_file(release, path.name):
            yield f"{path.name} is not a plain file"
        elif path.name not in listed and path.name not in _UNLISTED:
            yield f"{path.name} is not in the manifest"


def _sums(folder: Path, names: Iterable[str], threads: int) -> dict[str, str]:
    """sha256 of those files that are there, under plain names."""
    present = [name for name in names if is_plain_file(folder, name)]
    return dict(zip(present, in_threads(lambda name, _: sha256_of(folder / name), present, threads), strict=True))


def _wrong_sums(listed: Mapping[str, str], sums: Mapping[str, str]) -> Iterator[str]:
    for name, expected in listed.items():
        if name in sums and sums[name] != expected:
            yield f"{name} has sha256 {sums[name][:12]}…, the manifest says {expected[:12]}…"


def _read_recipe(release: Path) -> tuple[_Recipe | None, list[str]]:
    from unwrite.files.tensors import read_tensors

    missing = [path.name for path in (RECIPE, DIRECTIONS) if not is_plain_file(release, path.name)]
    if missing:
        return None, [f"{name} is missing" for name in missing]
    try:
        recipe = parse_record(Recipe, (release / RECIPE.name).read_bytes(), RECIPE.name)
    except UnwriteError as error:
        return None, [str(error)]
    try:
        directions = read_tensors(release / DIRECTIONS.name, "publish")
    except (OSError, UnwriteError):
        return None, [f"{DIRECTIONS.name} is damaged"]
    shapes = {tensor.shape for tensor in directions.values()}
    real = all(tensor.is_floating_point() for tensor in directions.values())
    if directions.keys() != _TENSORS or len(shapes) > 1 or len(next(iter(shapes))) != len("PLd") or not real:
        return None, [f"{DIRECTIONS.name} holds something else than {', '.join(sorted(_TENSORS))}, alike in shape"]
    return _Recipe(recipe, directions), []


def _inconsistent(recipe: _Recipe | None) -> Iterator[str]:
    """Where a recipe contradicts itself: what it does against the trial that it says it is of."""
    if recipe is None:
        return
    edits, trial = recipe.recipe.edits, recipe.recipe.parameters
    if not edits:
        yield "it edits nothing"
    for edit in edits:
        weight = kernel_weight(edit.layer, **getattr(trial, edit.component).model_dump())
        if not math.isclose(edit.strength, weight, rel_tol=1e-9):
            name = edit.matrix.parameter
            yield f"{name} has strength {edit.strength:.6g}, by the kernel of its trial {weight:.6g}"


def _undeclared(manifest: Manifest, recipe: _Recipe | None) -> Iterator[str]:
    if recipe is None:
        yield "there is no recipe to hold it against"
        return
    declared = {name: edit for name, edit in manifest.internal.tensors.items() if edit is not None}
    edits = tensor_edits(recipe.recipe)
    declared_settings, settings = (it.settings.model_dump() for it in (manifest.internal, recipe.recipe))
    for name, value in settings.items():
        if declared_settings[name] != value:
            yield f"{name} is {declared_settings[name]} in the manifest, {value} in {RECIPE.name}"
    for name in sorted(declared.keys() | edits.keys()):
        if name not in edits:
            yield f"{name} is declared as edited, but {RECIPE.name} does not edit it"
        elif name not in declared:
            yield f"{name} is edited by {RECIPE.name}, but not declared"
        elif declared[name] != edits[name]:
            yield f"{name} is declared with another edit than {RECIPE.name} has"


def _unlisted(manifest: Manifest, release: Path) -> Iterator[str]:
    from unwrite.files.checkpoints import stored_tensors

    try:
        stored = stored_tensors(release).keys()
    except UnwriteError as error:
        yield reason_of(error)
        return
    listed = manifest.internal.tensors.keys()
    yield from (f"{name} is in the checkpoint, but not in the manifest" for name in sorted(stored - listed))
    yield from (f"{name} is in the manifest, but not in the checkpoint" for name in sorted(listed - stored))


def _exchanged(manifest: Manifest, sums: Mapping[str, str]) -> Iterator[str]:
    """Files of a release that are another one than the artifact of that name on the way to it."""
    made = {PurePosixPath(one.name).name: one.digest.get("sha256") for one in manifest.dependencies("artifact")}
    for name in sorted(_ARTIFACTS & made.keys() & sums.keys()):
        if sums[name] != made[name]:
            yield f"{name} is another one than that it was made with"


def _check_companions(
    release: Path,
    manifest: Manifest,
    sums: Mapping[str, str],
    shards: Collection[str] | None,
    base_sums: Mapping[str, str] | None,
) -> Check:
    """All that is not the checkpoint's shards: it must be the base's to the byte, or one that unwrite writes.

    What the base has is read from the base; without it there is only what the manifest says.
    """
    declared = {one.name: one.digest.get("sha256", "") for one in manifest.dependencies("base")}
    about = "configuration, tokenizer and all else are the base's"
    if shards is None or base_sums is None:
        about += ", by what the manifest says of it"
        shards, base_sums = {name for name in declared if name.endswith(WEIGHTS)}, declared
    names = [name for name in base_sums if name not in shards]
    wrong = [f"{name} of the base is missing" for name in names if name not in sums]
    for name in sorted(sums.keys() - shards - (OURS - base_sums.keys())):
        if name not in base_sums:
            wrong.append(f"{name} is neither the base's nor one that unwrite writes")
        elif sums[name] != base_sums[name]:
            wrong.append(f"{name} is not the base's")
    wrong += [f"{INDEX_FILE} does not list the checkpoint"] if _wrong_index(release, base_sums) else []
    return _check("companions", about, wrong)


def _wrong_index(release: Path, base_sums: Mapping[str, str]) -> bool:
    """Whether there is an index that merging would not have written beside a single file."""
    if INDEX_FILE in base_sums or not is_plain_file(release, INDEX_FILE):
        return False
    try:
        return bool(json.loads((release / INDEX_FILE).read_bytes()) != index_of(stored_tensors(release)))
    except (UnwriteError, ValueError, RecursionError):
        return True


def _base_sums(base: Path, named: Iterable[str], comparison: ReleaseComparison | None, threads: int) -> dict[str, str]:
    """sha256 of every file of the base that belongs to the model, and of those that are named."""
    sums = dict(comparison.base_sums) if comparison is not None else {}
    return sums | _sums(base, sorted({*model_files(base), *named} - sums.keys()), threads)


def _check_base(manifest: Manifest, sums: Mapping[str, str] | None) -> Check:
    declared = {one.name: one.digest.get("sha256", "") for one in manifest.dependencies("base")}
    source, commit = (manifest.external.base.get(key) for key in ("source", "commit"))
    name = f"{source} at {commit[:12]}" if commit else f"{source}, a local folder"
    if sums is None:
        return _not_checked("base", f"give it with --base: {name}")
    wrong = [f"{file} is not in it" for file in declared if file not in sums]
    wrong += [f"{file} is another one" for file, sha256 in declared.items() if sums.get(file, sha256) != sha256]
    if wrong:
        wrong.append(
            f"the release declares {name}: {'take that very commit' if commit else 'take the one it was made of'}"
        )
    return _check("base", f"it is the declared one: {name}", wrong)


def _compare(release: Path, base: Path, recipe: _Recipe, threads: int) -> tuple[ReleaseComparison | None, list[str]]:
    from unwrite.editing.checkpoint import changes_of, refuse_misfits
    from unwrite.release.compare import compare_checkpoints

    tensors = stored_tensors(base)
    try:
        refuse_misfits(tensors, recipe.recipe, recipe.directions["directions"].shape[-1])
        changes = changes_of(recipe.recipe, tensors, recipe.directions)
        return compare_checkpoints(release, base, changes, threads=threads), []
    except (UnwriteError, IndexError) as error:  # a position or index that the directions don't have
        return None, [f"{RECIPE.name} does not fit the base: {reason_of(error)}"]


def _check_tensors(comparison: ReleaseComparison | None, unfit: list[str], recipe: _Recipe | None) -> Iterator[Check]:
    names = ("headers", "unedited tensors", "edited tensors")
    if comparison is None:
        if unfit:
            yield _check(names[2], "can't be computed", unfit)
        for name in names[: 2 if unfit else 3]:
            yield _not_checked(name, "only against the base, and with a recipe")
        return
    groups: tuple[dict[str, TensorComparison], ...] = ({}, {})
    for name, one in comparison.tensors.items():
        groups[one.declared][name] = one
    yield _check(names[0], "names, shapes and types are the base's", comparison.headers)
    yield _check(names[1], f"{len(groups[0])}, identical to the base's", _differences(groups[0]))
    beside = [
        f"{name}: {one.rounded:,} numbers one rounding beside" for name, one in groups[1].items() if _rounded(one)
    ]
    edited = edited_patterns(tensor_edits(recipe.recipe)) if recipe is not None else []
    about = f"{len(groups[1])}, equal to the edit made anew" + ("" if beside else ", to the bit")
    yield _check(names[2], about, _differences(groups[1]), [*beside, *edited])


def _differences(tensors: Mapping[str, TensorComparison]) -> Iterator[str]:
    for name, one in tensors.items():
        if not _differs(one):
            continue
        if one.declared and one.equals_base:
            yield f"{name} is declared as edited, but it is the base's"
        else:
            of = "the declared edit" if one.declared else "the base"
            yield (
                f"{name} is not {of}: {one.differing:,} of {one.numbers:,} numbers differ, "
                f"the largest by {one.largest:.3g}"
            )


def _rounded(one: TensorComparison) -> bool:
    return one.differing > 0 and not _differs(one)


def _rounded_numbers(one: TensorComparison) -> int:
    return one.rounded if _rounded(one) else 0


def _differs(one: TensorComparison) -> bool:
    """Whether a tensor is another one: roundings apart, of which another processor could make a few."""
    return one.differing > (one.rounded if one.declared and one.rounded <= max(1, _BESIDE * one.numbers) else 0)


def _counts(comparison: ReleaseComparison) -> TensorCounts:
    tensors = comparison.tensors.values()
    return TensorCounts(
        all=len(tensors),
        declared=sum(one.declared for one in tensors),
        exact=sum(one.differing == 0 for one in tensors),
        rounded=sum(map(_rounded, tensors)),
        differing=sum(map(_differs, tensors)),
    )


def _check_signature(release: Path, public_key: Path | None) -> Check:
    about = f"{SIGNATURE}, by OpenSSF model signing"
    if public_key is not None:
        wrong = check_signature(release, public_key)
        return _check("signature", about, [] if wrong is None else [wrong])
    signed = (release / SIGNATURE).is_file()
    return _not_checked("signature", f"{about}: give the public key with --key" if signed else "the release has none")
