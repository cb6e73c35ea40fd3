"""What is unusual about a verified edit: values that a declared recipe may have, and an honest one hardly has."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from unwrite.release.recipe_checks import RecipeFiles
from unwrite.release.untrusted import one_line
from unwrite.schema.artifacts import Recipe, biases_of

if TYPE_CHECKING:
    from unwrite.release.compare import ReleaseComparison
    from unwrite.release.tensor_comparison import TensorComparison

LARGEST_STRENGTH = 3.0
"""λ = 1 removes a direction, 2 mirrors it; beyond this range an edit adds more than it removes."""
LARGEST_CHANGE = 0.75
"""‖ΔW‖ / ‖W‖ of an edited tensor: λ times the share of W along one of d directions."""
_LISTED = 3


def unusual_facts(recipe: RecipeFiles | None, comparison: ReleaseComparison | None) -> list[str]:
    """Return what is unusual about an edit, a few words each."""
    facts = [] if recipe is None else [*_strengths(recipe.recipe), *_zeros(recipe)]
    if comparison is not None:
        edits = [] if recipe is None else recipe.recipe.edits
        biases = {stored.tensor for edit in edits for one in biases_of(edit) for stored in one.layout.stored}
        facts += _values(comparison.tensors, biases)
    return [one_line(fact) for fact in facts]


def _strengths(recipe: Recipe) -> Iterator[str]:
    strengths = [edit.strength for edit in recipe.edits]
    beyond = [strength for strength in strengths if abs(strength) > LARGEST_STRENGTH]
    if beyond:
        yield f"λ up to {max(beyond, key=abs):.3g} (usual: {LARGEST_STRENGTH:g} at most)"


def _zeros(recipe: RecipeFiles) -> Iterator[str]:
    """Yield that directions are all zero, so that edits with them change nothing."""
    directions = recipe.directions["directions"]
    positions, indices = directions.shape[:2]
    zero = 0
    for edit in recipe.recipe.edits:
        position, index = edit.direction.position, edit.direction.index
        if position < positions and 0 <= index <= indices - 1:
            between = directions[position, [math.floor(index), math.ceil(index)]]
            zero += not bool(between.any())
    if zero:
        yield f"the direction of {zero} of {len(recipe.recipe.edits)} edits is zero"


def _values(tensors: Mapping[str, TensorComparison], biases: Collection[str]) -> Iterator[str]:
    nonfinite = [name for name, one in tensors.items() if not one.finite]
    if nonfinite:
        yield f"NaN or infinite weights in {_some(nonfinite)}"
    # A bias is a single vector, of which a direction may well be most.
    large = [name for name, one in tensors.items() if name not in biases and _share(one) > LARGEST_CHANGE]
    if large:
        share = max(_share(tensors[name]) for name in large)
        yield f"‖ΔW‖ is {share:.3g} ‖W‖ in {_some(large)} (usual: {LARGEST_CHANGE:g} at most)"


def _share(one: TensorComparison) -> float:
    if one.change_squares == 0:
        return 0.0
    squares = (one.base_squares, one.change_squares)
    return math.sqrt(squares[1] / squares[0]) if squares[0] > 0 and all(map(math.isfinite, squares)) else math.inf


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
