"""Verification of a release: whether it is its base plus the declared edit and nothing more, from the two folders.

It recomputes everything it can, and trusts no declared value: a manifest can be rewritten to match whatever was done to
the files. Every tensor that is not declared as edited is compared with the base's, byte for byte; every one that is,
with the edit recomputed from the base, the recipe and the directions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from unwrite.files.checkpoints import left_out_files, model_files, shard_files
from unwrite.files.hashing import sums_of
from unwrite.files.threads import FileMap, map_in_threads, one_torch_thread
from unwrite.models.preload import transformers_preloaded
from unwrite.release.direction_checks import check_directions
from unwrite.release.figure_checks import check_figures
from unwrite.release.file_checks import (
    ADDED_FILES,
    UNLISTED_FILES,
    Check,
    check_base,
    check_files,
    check_other_files,
    check_signature,
)
from unwrite.release.manifest import read_manifest
from unwrite.release.parameter_checks import check_parameters
from unwrite.release.recipe_checks import check_manifest, check_recipe, read_recipe
from unwrite.release.record_form import other_forms
from unwrite.release.set_aside import set_aside
from unwrite.release.sizes import refuse_oversized_files
from unwrite.release.statement_checks import check_statement
from unwrite.release.tensor_checks import check_tensors, compare_with_base, is_different, is_rounded
from unwrite.release.unproven import Unproven, unproven_fields
from unwrite.release.untrusted import entries, is_plain_file, refuse_endless_files, unreadable_files_told
from unwrite.release.unusual import unusual_facts
from unwrite.release.writer_checks import FoundWriters, check_writers, find_base_writers
from unwrite.schema.artifacts import Artifact
from unwrite.schema.parsing import FORMAT

if TYPE_CHECKING:
    from unwrite.release.compare import ReleaseComparison
    from unwrite.release.statement import Manifest


OPTIONAL = {"signature", "parameters", "figures"}
"""Checks of what a release need not have."""


FindWriters = Callable[[Path | None], FoundWriters | str]


class TensorCounts(Artifact):
    """How many tensors of the checkpoint are exactly as they should be, differ by roundings only, or differ."""

    all: int
    declared: int
    exact: int
    rounded: int
    differing: int


class Verification(Artifact):
    """The result of a verification. `passed`: no check failed; `complete`: everything was checked.

    `rounded_numbers` counts values of edited tensors that differ by one unit in the last place from those computed
    here. `unusual` says what a declared edit may have and an honest one hardly has; `unproven` lists the fields that
    nothing proves.
    """

    format: Literal[2] = FORMAT
    passed: bool
    complete: bool
    checks: list[Check]
    tensors: TensorCounts | None
    rounded_numbers: int
    unusual: list[str] = Field(default_factory=list)
    unproven: list[Unproven] = Field(default_factory=list)


def verify_release(
    release: Path,
    base: Path | None = None,
    *,
    public_key: Path | None = None,
    threads: int = 1,
    map_files: FileMap | None = None,
    find_writers: FindWriters | None = None,
) -> Verification:
    """Verify a release, against its base if that is given.

    Args:
        release: folder of the release.
        base: folder of the base model.
        public_key: PEM file of the key that should have signed it.
        threads: number of files read at once.
        map_files: what reads several files at once, in place of threads; the result does not depend on it.
        find_writers: what finds the base's writers, if another process already does.

    Returns:
        Every check, whichever failed first.

    Raises:
        UnwriteError: the release has no manifest, or files that cannot be read, have no end or are far too large; or
            the key or the base cannot be used.

    Example:
        >>> import shutil
        >>> stored = Path("tests/data/releases/0.2/dense")
        >>> for part in ("base", "rows"):
        ...     _ = shutil.copytree(stored / part, tmp_path / "release", dirs_exist_ok=True)
        >>> verify_release(tmp_path / "release", stored / "base").passed
        True
    """
    refuse_endless_files(release, ADDED_FILES | UNLISTED_FILES)
    with unreadable_files_told(), one_torch_thread():
        return _verify(release, base, public_key, map_files or map_in_threads(threads), find_writers)


def _verify(
    release: Path, base: Path | None, public_key: Path | None, map_files: FileMap, find_writers: FindWriters | None
) -> Verification:
    manifest = read_manifest(release)
    base_shards = None if base is None else set(shard_files(base))
    refuse_oversized_files(release, base, manifest)
    aside = set_aside(release)
    signature = check_signature(release, public_key, aside.names)
    recipe, unreadable = read_recipe(release)
    comparison, misfit = (None, None)
    if base is not None and recipe is not None:
        with transformers_preloaded() if find_writers is None else nullcontext():  # to find the writers
            comparison, misfit = compare_with_base(release, base, recipe, map_files)
    sums = _release_sums(release, comparison, aside.names, map_files)
    base_sums = None if base is None else _base_sums(base, _names_in_base(manifest, sums), comparison, map_files)
    base_files = [] if base is None else model_files(base)
    checks = [
        check_files(release, manifest, sums, aside),
        check_recipe(recipe, unreadable),
        check_directions(release, manifest, recipe),
        check_manifest(release, manifest, recipe, sums),
        check_statement(release, base, manifest, recipe),
        check_parameters(release, manifest, recipe),
        check_figures(release, manifest),
        check_other_files(release, manifest, sums, base_shards, base_sums),
        check_base(manifest, base_sums, base_files, _left_out(base, base_files, sums)),
        check_writers((find_writers or find_base_writers)(base), manifest, recipe),
        *check_tensors(comparison, misfit, recipe),
        signature,
    ]
    return Verification(
        passed=all(check.outcome != "failed" for check in checks),
        complete=all(check.outcome != "not checked" or check.name in OPTIONAL for check in checks),
        checks=checks,
        tensors=None if comparison is None else _counts(comparison),
        rounded_numbers=0 if comparison is None else _rounded_numbers(comparison),
        unusual=[*unusual_facts(recipe, comparison), *other_forms(release, manifest)],
        unproven=unproven_fields(release, manifest, recipe),
    )


def _release_sums(
    release: Path, comparison: ReleaseComparison | None, aside: Collection[str], map_files: FileMap
) -> dict[str, str]:
    """Return the sha256 of every file of the release; comparing has already computed those of the shards."""
    sums = {} if comparison is None else dict(comparison.release_sums)
    names = {path.relative_to(release).as_posix() for path in entries(release)} - UNLISTED_FILES - {*aside, *sums}
    return sums | _sums(release, sorted(names), map_files)


def _base_sums(
    base: Path, names: Iterable[str], comparison: ReleaseComparison | None, map_files: FileMap
) -> dict[str, str]:
    """Return the sha256 of every file of the base model, and of the named files if the base has them."""
    sums = {} if comparison is None else dict(comparison.base_sums)
    return sums | _sums(base, sorted({*model_files(base), *names} - sums.keys()), map_files)


def _left_out(base: Path | None, base_files: Collection[str], sums: Mapping[str, str]) -> list[str]:
    """Return the names of what lies in the base's folder and not in the release."""
    return [] if base is None else left_out_files(base, {*base_files, *sums})


def _names_in_base(manifest: Manifest, sums: dict[str, str]) -> set[str]:
    """Return every file name that the base may have: declared as the base's, or in the release but not ours."""
    return {*sums, *(one.name for one in manifest.dependencies("base"))} - ADDED_FILES


def _sums(folder: Path, names: Iterable[str], map_files: FileMap) -> dict[str, str]:
    """Return the sha256 of those files that exist, under plain names."""
    return sums_of(folder, [name for name in names if is_plain_file(folder, name)], map_files)


def _counts(comparison: ReleaseComparison) -> TensorCounts:
    tensors = comparison.tensors.values()
    return TensorCounts(
        all=len(tensors),
        declared=sum(one.declared for one in tensors),
        exact=sum(one.differing == 0 for one in tensors),
        rounded=sum(map(is_rounded, tensors)),
        differing=sum(map(is_different, tensors)),
    )


def _rounded_numbers(comparison: ReleaseComparison) -> int:
    return sum(one.rounded for one in comparison.tensors.values() if is_rounded(one))
