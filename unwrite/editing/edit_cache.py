"""Products of every one-matrix writer with the stored directions, once a run; from them a trial's edits in closed form.

What an edit projects out is γ∘v, v a mix of two stored directions, less its part along a baseline mean (`biprojected`):
linear, up to its length, in γ∘v_i, γ∘v_{i+1} and γ∘mean. These are the vectors that a writer's weight is multiplied
with (`core.products`). What the bounds of a search can ask for is computed beforehand, in one pass; anything else when
it is first asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unwrite.core.directions import residual_index, span_source, through_norms
from unwrite.core.edit import Factors
from unwrite.core.layout import as_matrices
from unwrite.core.products import Products, combined_factors, products, with_more
from unwrite.editing.exact import blocks_of_matrix, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import StoredTensor, read_rows, row_blocks, stored_tensors
from unwrite.schema.artifacts import DirectionRef, Edit, Norm, ParameterLayout, Writer
from unwrite.schema.params import Space
from unwrite.terms import NormPreservation

Blocks = Callable[[], Iterable[tuple[slice, Tensor]]]


class BasisVector(NamedTuple):
    """A vector of directions.safetensors: the direction at a position and residual index, or the baseline mean."""

    position: int
    residual: int
    mean: bool


class WriterProducts(NamedTuple):
    """A writer's products, on the CPU, and which vectors they are with."""

    vectors: tuple[BasisVector, ...]
    products: Products


class EditCache(NamedTuple):
    """What closed forms are made of. `known` grows: by parameter, the products computed so far."""

    blocks: Callable[[ParameterLayout], Blocks]
    parameters: Mapping[str, Tensor]
    norm_preservation: NormPreservation
    directions: Tensor
    baseline_means: Tensor
    known: dict[str, WriterProducts]


def prepare_products(
    form: EditCache, writers: Sequence[Writer], wanted: Callable[[Writer], Iterable[BasisVector]]
) -> None:
    """Computes the products of every writer with one matrix, each in one pass over its weight.

    Args:
        form: What they are kept in; `norms` of a writer count where its edits have them.
        writers: Those that may be edited, with the norms that their edits will have.
        wanted: The vectors for a writer.

    Raises:
        UnwriteError: A weight isn't finite, or can't be read.
    """
    for writer in writers:
        vectors = tuple(wanted(writer))
        if writer.matrix.num_matrices == 1 and vectors:
            _extend(form, writer.matrix, writer.norms, vectors)


def vectors_of_search(
    writer: Writer, space: Space, *, layers: int, positions: int, biprojected: bool
) -> Iterator[BasisVector]:
    """Every stored vector that an edit of a writer can be made of, between the bounds of a search.

    Args:
        writer: Whose.
        space: The bounds; fractions are of L − 1.
        layers: L.
        positions: P.
        biprojected: Whether directions are orthogonalized to the mean where they are applied.
    """
    own = residual_index(writer.layer)
    indices: set[int] = set()
    if "global" in space.direction_scope:
        low, high = (bound * (layers - 1) for bound in space.direction_index)
        indices.update(range(math.floor(low), math.ceil(high) + 1))
    if "per_layer" in space.direction_scope:
        indices.add(own)
    if "spans" in space.direction_scope:
        source = span_source(space.spans, writer.layer)
        indices.update(() if source is None else (residual_index(source),))
    for position in range(positions):
        yield from (BasisVector(position, index, mean=False) for index in sorted(indices))
        if biprojected and indices:
            yield BasisVector(position, own, mean=True)


def factors_of_trials(form: EditCache, edits: Sequence[Edit | None]) -> Factors:
    """The closed form of one writer's edits in K trials, in O(d + k) each.

    Args:
        form: What it is made of; products that are missing are computed and kept.
        edits: Of one parameter with one matrix, one a trial; None where a trial doesn't edit it (not all of them).

    Returns:
        The factors with a leading axis K, float64, on the CPU.

    Raises:
        UnwriteError: As `core.edit.factors`.
    """
    first = next(edit for edit in edits if edit is not None)
    combinations = [{} if edit is None else _combination(form, edit.direction) for edit in edits]
    found = _extend(form, first.matrix, first.norms, (vector for mix in combinations for vector in mix))
    scales = _scales(form, first.norms)
    coefficients = torch.zeros(len(edits), len(found.vectors), dtype=torch.float64)
    directions = torch.zeros(len(edits), form.directions.shape[-1], dtype=torch.float64)
    for trial, (edit, mix) in enumerate(zip(edits, combinations, strict=True)):
        if edit is None or edit.strength == 0:
            continue
        directions[trial] = through_norms(
            resolve_direction(edit.direction, form.directions, form.baseline_means), scales
        )
        length = _length(form, mix, scales)
        for vector, share in mix.items() if directions[trial].any() else ():
            coefficients[trial, found.vectors.index(vector)] = share / length
    strengths = torch.tensor([0.0 if edit is None else edit.strength for edit in edits], dtype=torch.float64)
    if not bool(strengths.isfinite().all()):
        raise UnwriteError(f"a strength that isn't finite came for {first.matrix.parameter}")
    return combined_factors(found.products, coefficients, directions, strengths, form.norm_preservation)


def blocks_in_memory(parameters: Mapping[str, Tensor], layout: ParameterLayout) -> Blocks:
    """A parameter of one matrix by blocks of rows, [rows, k] each."""
    matrix = as_matrices(parameters[layout.parameter], layout.axis, layout.num_matrices)[0]
    return partial(blocks_of_matrix, matrix)


def blocks_on_disk(tensors: Mapping[str, StoredTensor], layout: ParameterLayout) -> Blocks:
    """The same from the checkpoint: a few rows at a time where its hidden axis comes first, as a whole where not.

    Raises:
        UnwriteError: The checkpoint doesn't have it.
    """
    (place,) = layout.stored
    if place.tensor not in tensors:
        raise UnwriteError(f"The checkpoint has no {place.tensor}: run `dvc repro -f pin_model` and what follows.")
    tensor = tensors[place.tensor]
    if place.axis == 0 and len(tensor.shape) == 2:
        return partial(_rows_on_disk, tensor)
    return lambda: blocks_of_matrix(
        as_matrices(read_rows(tensor, slice(0, tensor.shape[0])), place.axis, place.num_matrices)[0]
    )


def blocks_of_model(parameters: Mapping[str, Tensor], folder: Path) -> Callable[[ParameterLayout], Blocks]:
    """Where each weight is read: from memory, or from the checkpoint if memory holds it quantized.

    Args:
        parameters: The model's, by name.
        folder: Of the checkpoint.
    """
    tensors: dict[str, StoredTensor] = {}

    def blocks(layout: ParameterLayout) -> Blocks:
        if parameters[layout.parameter].is_floating_point():
            return blocks_in_memory(parameters, layout)
        if not tensors:
            tensors.update(stored_tensors(folder))
        return blocks_on_disk(tensors, layout)

    return blocks


def _extend(
    form: EditCache, layout: ParameterLayout, norms: Sequence[Norm], vectors: Iterable[BasisVector]
) -> WriterProducts:
    """A writer's products with these vectors and all that were asked for before."""
    known = form.known.get(layout.parameter)
    asked = dict.fromkeys(vectors)
    missing = [vector for vector in asked if known is None or vector not in known.vectors]
    if known is not None and not missing:
        return known
    scales = _scales(form, norms)
    stacked = torch.stack([_vector(form, vector, scales) for vector in missing])
    more = products(_blocks(form, layout), stacked.to(_device(form, layout)), form.norm_preservation)
    more = Products(*(tensor.cpu() for tensor in more))
    merged = more if known is None else with_more(known.products, more)
    found = WriterProducts((*(() if known is None else known.vectors), *missing), merged)
    form.known[layout.parameter] = found
    return found


def _blocks(form: EditCache, layout: ParameterLayout) -> Blocks:
    if layout.num_matrices == 1:
        return form.blocks(layout)
    if form.norm_preservation != "none":
        raise UnwriteError(
            f"{layout.parameter} holds {layout.num_matrices} matrices, each with a closed form of its own"
        )
    # What `none` does to an output is the same for every matrix; one without columns stands for all.
    return lambda: [(slice(0, form.directions.shape[-1]), form.directions.new_empty(form.directions.shape[-1], 0))]


def _device(form: EditCache, layout: ParameterLayout) -> torch.device:
    return form.parameters[layout.parameter].device


def _combination(form: EditCache, reference: DirectionRef) -> dict[BasisVector, float]:
    """The shares of stored vectors whose sum is along the direction that a reference means."""
    below = math.floor(reference.index)
    f = reference.index - below
    mix = {BasisVector(reference.position, below, mean=False): 1 - f}
    if f > 0:
        mix[BasisVector(reference.position, below + 1, mean=False)] = f
    if reference.orthogonalize_to is not None:
        mean = BasisVector(reference.position, reference.orthogonalize_to, mean=True)
        mix[mean] = -float(_sum(form, mix, ()) @ _vector(form, mean, ()))
    return mix


def _vector(form: EditCache, vector: BasisVector, scales: Sequence[Tensor]) -> Tensor:
    """γ∘v, or γ∘g for the unit vector g along a baseline mean; float64."""
    if vector.mean:
        mean = form.baseline_means[vector.position, vector.residual].to(torch.float64)
        length = torch.linalg.vector_norm(mean)
        found = mean / length if length > 0 else mean
    else:
        found = form.directions[vector.position, vector.residual].to(torch.float64)
    for scale in scales:
        found = found * scale
    return found


def _sum(form: EditCache, mix: Mapping[BasisVector, float], scales: Sequence[Tensor]) -> Tensor:
    return torch.stack([share * _vector(form, vector, scales) for vector, share in mix.items()]).sum(0)


def _length(form: EditCache, mix: Mapping[BasisVector, float], scales: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(_sum(form, mix, scales)))


def _scales(form: EditCache, norms: Sequence[Norm]) -> list[Tensor]:
    """γ of each norm, [d] float64 on the CPU."""
    return [
        norm.offset + form.parameters[norm.parameter].cpu().to(torch.float64)
        for norm in norms
        if norm.parameter is not None
    ]


def _rows_on_disk(tensor: StoredTensor) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_blocks(tensor.shape):
        yield rows, read_rows(tensor, rows)
