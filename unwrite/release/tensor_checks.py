"""The checks of a release's weights: headers, unedited tensors and edited tensors, each against the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.checkpoints import stored_tensors
from unwrite.release.file_checks import Check, checked, not_checked
from unwrite.release.manifest import edited_patterns, tensor_edits
from unwrite.release.recipe_checks import RecipeFiles
from unwrite.schema.paths import RECIPE

if TYPE_CHECKING:
    from unwrite.files.threads import FileMap
    from unwrite.release.compare import ReleaseComparison
    from unwrite.release.tensor_comparison import TensorComparison

_MAX_ROUNDED = 1e-4  # share of a tensor's values that may differ by a rounding: more would leave room for another edit


def compare_with_base(
    release: Path, base: Path, recipe: RecipeFiles, map_files: FileMap
) -> tuple[ReleaseComparison | None, str | None]:
    """Compare every tensor with the base's, or with its recomputed edit.

    Returns:
        (comparison, None); or (None, reason) if the recipe cannot be applied to the base.
    """
    from unwrite.editing.changes import changes_of
    from unwrite.release.compare import compare_checkpoints

    tensors = stored_tensors(base)
    try:
        changes = changes_of(recipe.recipe, tensors, recipe.directions)
        return compare_checkpoints(release, base, changes, map_files), None
    except UnwriteError as error:
        return None, f"{RECIPE.name} does not fit the base: {reason_of(error)}"


def check_tensors(
    comparison: ReleaseComparison | None, misfit: str | None, recipe: RecipeFiles | None
) -> Iterator[Check]:
    """Yield the three checks of the weights; not checked without a base, or without a recipe that fits it."""
    if comparison is None or recipe is None:
        for name in ("headers", "unedited tensors"):
            yield not_checked(name, "needs the base and a valid recipe")
        if misfit is None:
            yield not_checked("edited tensors", "needs the base and a valid recipe")
        else:
            yield checked("edited tensors", "cannot be computed", [misfit])
        return
    unedited = {name: one for name, one in comparison.tensors.items() if not one.declared}
    edited = {name: one for name, one in comparison.tensors.items() if one.declared}
    yield checked("headers", "names, shapes and types are the base's", comparison.headers)
    yield checked("unedited tensors", f"{len(unedited)}, identical to the base's", _differences(unedited))
    rounded = [f"{name}: {rounded_text(one.rounded)}" for name, one in edited.items() if is_rounded(one)]
    about = f"{len(edited)}, equal to the recomputed edit{'' if rounded else ', to the bit'}"
    notes = [*rounded, *edited_patterns(tensor_edits(recipe.recipe))]
    yield checked("edited tensors", about, _differences(edited), notes)


def is_different(one: TensorComparison) -> bool:
    """Return whether a tensor is wrong: it differs by more than the few roundings another processor could cause."""
    few_roundings = one.declared and one.rounded <= max(1, _MAX_ROUNDED * one.numbers)
    return one.differing > (one.rounded if few_roundings else 0)


def is_rounded(one: TensorComparison) -> bool:
    """Return whether a tensor differs, but only by a few roundings."""
    return one.differing > 0 and not is_different(one)


def _differences(tensors: Mapping[str, TensorComparison]) -> Iterator[str]:
    for name, one in tensors.items():
        if not is_different(one):
            continue
        if one.declared and one.equals_base:
            yield f"{name} is declared as edited, but equals the base's"
            continue
        expected = "declared edit" if one.declared else "base"
        share = f"{one.differing:,} of {one.numbers:,} values"
        yield f"{name} differs from the {expected}: {share}, by up to {one.largest:.3g}"


def rounded_text(count: int) -> str:
    """Return how many values differ by a rounding, in words."""
    return f"{count:,} {'value differs' if count == 1 else 'values differ'} by one unit in the last place"
