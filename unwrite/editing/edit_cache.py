"""The closed form of a trial's edits without reading a weight again: its products with stored vectors are kept.

The direction of an edit is a mix of stored vectors (`basis`), and the products of a weight with a mix are the mix of
its products (`core.products`). The products that a search can need are computed in advance, in one pass over each
weight; any others when an edit first needs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.directions import AffineNorm, through_norms
from unwrite.core.edit import Blocks, Factors
from unwrite.core.products import Products, combined_factors, products, with_more
from unwrite.editing.basis import BasisVector, Mix, basis_vector, combine, mix_of
from unwrite.editing.exact import affine_norms, naming_in_errors, resolve_direction
from unwrite.errors import UnwriteError, as_user_error
from unwrite.schema.artifacts import Edit, Norm, ParameterLayout, Writer
from unwrite.terms import NormPreservation


class WriterProducts(NamedTuple):
    """The products of one weight, on the CPU, and their vectors in the same order."""

    vectors: tuple[BasisVector, ...]
    products: Products


class EditCache:
    """A cache that grows: for each weight, the products with every vector that an edit of it has needed so far.

    Attributes:
        blocks: finds the blocks of a weight with one matrix.
        parameters: the value of each parameter that edits and writers name, by name.
        norm_preservation: which norms of each matrix edits keep.
        directions: the stored directions, [P, L+1, d].
        baseline_means: the means of the baseline residuals, [P, L+1, d].
    """

    def __init__(
        self,
        blocks: Callable[[ParameterLayout], Blocks],
        parameters: Mapping[str, Tensor],
        norm_preservation: NormPreservation,
        directions: Tensor,
        baseline_means: Tensor,
    ) -> None:
        self.blocks = blocks
        self.parameters = parameters
        self.norm_preservation = norm_preservation
        self.directions = directions
        self.baseline_means = baseline_means
        self._known: dict[str, WriterProducts] = {}

    def products(
        self, layout: ParameterLayout, norms: Sequence[Norm], vectors: Iterable[BasisVector]
    ) -> WriterProducts:
        """Return the products of a weight with these vectors and with all earlier ones.

        Products that are missing are computed, in one pass over the weight, and kept.

        Args:
            layout: the weight.
            norms: the norms that its edits compensate for, the same on every call.
            vectors: the vectors that are needed; duplicates count once.

        Raises:
            UnwriteError: the weight holds several matrices that differ in their products, is not finite, or cannot be
                read.
        """
        known = self._known.get(layout.parameter)
        missing = [vector for vector in dict.fromkeys(vectors) if known is None or vector not in known.vectors]
        if known is None:
            known = self._compute(layout, norms, missing)
        elif missing:
            known = _joined(known, self._compute(layout, norms, missing))
        self._known[layout.parameter] = known
        return known

    def affine_norms(self, norms: Sequence[Norm]) -> list[AffineNorm]:
        """Return what norms do to a direction, as `exact.affine_norms` does."""
        return affine_norms(norms, self.parameters, self.directions.shape[-1])

    def _compute(
        self, layout: ParameterLayout, norms: Sequence[Norm], vectors: Sequence[BasisVector]
    ) -> WriterProducts:
        after = self.affine_norms(norms)
        stacked = torch.stack([basis_vector(vector, self.directions, self.baseline_means, after) for vector in vectors])
        parameter = self.parameters[layout.parameter]
        device = "cpu" if parameter.is_meta else parameter.device
        with naming_in_errors(layout.parameter):
            computed = products(self._blocks_for_products(layout), stacked.to(device), self.norm_preservation)
        return WriterProducts(tuple(vectors), Products(*(tensor.cpu() for tensor in computed)))

    def _blocks_for_products(self, layout: ParameterLayout) -> Blocks:
        if layout.num_matrices == 1:
            return self.blocks(layout)
        if self.norm_preservation != "none":
            raise UnwriteError(
                f"{layout.parameter} holds {layout.num_matrices} matrices, each with its own closed form"
            )
        # `none` edits the output of every matrix alike, so one matrix without columns represents them all.
        d = self.directions.shape[-1]
        return lambda: [(slice(0, d), self.directions.new_empty(d, 0))]


def prepare_products(
    cache: EditCache, writers: Sequence[Writer], vectors_for: Callable[[Writer], Iterable[BasisVector]]
) -> None:
    """Compute the products of every writer with one matrix, each in one pass over its weight.

    Args:
        cache: where the products are kept.
        writers: the writers that may be edited, with only those norms that their edits will compensate for.
        vectors_for: returns the vectors for a writer.

    Raises:
        UnwriteError: a weight is not finite, or cannot be read.
    """
    for writer in writers:
        vectors = list(vectors_for(writer))
        if writer.matrix.num_matrices == 1 and vectors:
            cache.products(writer.matrix, writer.norms, vectors)


def factors_of_trials(cache: EditCache, edits: Sequence[Edit | None]) -> Factors:
    """Compute the closed form of one writer's edits in K trials, in O(d + k) each.

    Args:
        cache: the products; missing ones are computed and kept.
        edits: one edit of the same parameter per trial; None for a trial that does not edit it (not for all of them).

    Returns:
        The factors with a leading axis K, float64, on the CPU.

    Raises:
        UnwriteError: a strength is not finite, or as in `EditCache.products`.
    """
    edited = next(edit for edit in edits if edit is not None)
    strengths = _strengths(edits)
    mixes = [_mix(cache, edit) for edit in edits]
    known = cache.products(edited.matrix, edited.norms, [vector for mix in mixes for vector in mix])
    after = cache.affine_norms(edited.norms)
    directions = [_direction(cache, edit, after) for edit in edits]
    coefficients = [
        _coefficients(cache, known.vectors, mix, direction, after)
        for mix, direction in zip(mixes, directions, strict=True)
    ]
    return combined_factors(
        known.products, torch.stack(coefficients), torch.stack(directions), strengths, cache.norm_preservation
    )


def _strengths(edits: Sequence[Edit | None]) -> Tensor:
    """Return λ of each trial, [K] float64; 0 for a trial without an edit."""
    strengths = [0.0 if edit is None else edit.strength for edit in edits]
    for strength in strengths:
        if not math.isfinite(strength):
            raise UnwriteError(f"the strength of an edit must be a finite number, got {strength}")
    return torch.tensor(strengths, dtype=torch.float64)


def _mix(cache: EditCache, edit: Edit | None) -> Mix:
    if edit is None:
        return {}
    return mix_of(edit.direction, cache.directions, cache.baseline_means)


def _direction(cache: EditCache, edit: Edit | None, after: Sequence[AffineNorm]) -> Tensor:
    """Compute the unit vector [d] that an edit projects out; zero for no edit."""
    if edit is None or edit.strength == 0:
        return torch.zeros(cache.directions.shape[-1], dtype=torch.float64)
    with as_user_error(edit.matrix.parameter):
        return through_norms(resolve_direction(edit.direction, cache.directions, cache.baseline_means), after)


def _coefficients(
    cache: EditCache, vectors: Sequence[BasisVector], mix: Mix, direction: Tensor, after: Sequence[AffineNorm]
) -> Tensor:
    """Compute the coefficients [n] of a unit vector over `vectors`; zeros if it is zero."""
    coefficients = torch.zeros(len(vectors), dtype=torch.float64)
    if direction.any():
        length = torch.linalg.vector_norm(combine(mix, cache.directions, cache.baseline_means, after))
        for vector, share in mix.items():
            coefficients[vectors.index(vector)] = share / float(length)
    return coefficients


def _joined(known: WriterProducts, more: WriterProducts) -> WriterProducts:
    return WriterProducts((*known.vectors, *more.vectors), with_more(known.products, more.products))
