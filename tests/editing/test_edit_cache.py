"""The closed form of a recipe's edits without reading a weight again: equal to `core.edit.factors`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.support.samples import KERNEL, sample_direction, sample_edit, sample_layout, sample_settings, sample_writer
from tests.support.weights import (
    DIRECTIONS,
    EXPERTS,
    LAYERS,
    MEANS,
    MODES,
    NORMED,
    PARAMETERS,
    PLAIN,
    POSITIONS,
    REFERENCES,
    TRANSPOSED,
    D,
    cache_in_memory,
    edits_of,
)
from unwrite.core.edit import Blocks, Factors, factors
from unwrite.core.layout import as_matrices
from unwrite.editing.basis import BasisVector, vectors_of_search
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache, factors_of_trials, prepare_products
from unwrite.editing.exact import applied_direction
from unwrite.editing.recipe import build_edits
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Edit, ParameterLayout, TrialParameters, Writer
from unwrite.schema.params import KernelSpace, Space
from unwrite.terms import NormPreservation, Scope


def expected(edit: Edit, mode: NormPreservation, directions: Tensor = DIRECTIONS) -> Factors:
    matrix = as_matrices(PARAMETERS[edit.matrix.parameter], edit.matrix.axis, edit.matrix.num_matrices)[0]
    direction = applied_direction(edit.direction, edit.norms, directions, MEANS, PARAMETERS)
    return factors(lambda: [(slice(0, D), matrix)], direction, edit.strength, mode)


def assert_trial_equals(actual: Factors, trial: int, single: Factors) -> None:
    for batched, unbatched in zip(actual, single, strict=True):
        torch.testing.assert_close(batched[trial], unbatched, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("writer", [PLAIN, TRANSPOSED, NORMED], ids=["plain", "transposed", "norm after it"])
def test_the_closed_form_equals_the_factors_of_the_weight(writer: Writer, mode: NormPreservation) -> None:
    edits = edits_of(writer)
    actual = factors_of_trials(cache_in_memory(mode), edits)
    for trial, edit in enumerate(edits):
        assert_trial_equals(actual, trial, expected(edit, mode))
        alone = factors_of_trials(cache_in_memory(mode), [edit])
        assert_trial_equals(alone, 0, expected(edit, mode))


@pytest.mark.parametrize("mode", MODES)
def test_trials_without_an_edit_or_a_direction_change_nothing(mode: NormPreservation) -> None:
    edit = edits_of(PLAIN)[1]
    zero = DIRECTIONS.clone()
    zero[0, 1:3] = 0
    actual = factors_of_trials(
        cache_in_memory(mode, zero), [None, edit, edit.model_copy(update={"direction": REFERENCES[2]})]
    )
    nothing = expected(edit.model_copy(update={"strength": 0.0}), mode)
    assert_trial_equals(actual, 0, nothing)
    assert_trial_equals(actual, 1, nothing)  # its direction is zero
    assert actual.a[2].any()


@pytest.mark.parametrize("mode", MODES)
def test_only_a_zero_remainder_of_a_biprojection_edits_nothing(mode: NormPreservation) -> None:
    along = DIRECTIONS.clone()
    along[0, 2] = MEANS[0, 1] / MEANS[0, 1].norm()
    edit = sample_edit(PLAIN, 1.0, sample_direction(2.0, orthogonalize_to=1))
    assert not factors_of_trials(cache_in_memory(mode, along), [edit]).a.any()
    assert factors_of_trials(cache_in_memory(mode), [edit]).a.any()


def space(scopes: Sequence[Scope], **changes: object) -> Space:
    kernel = KernelSpace(
        max_weight=(0.5, 1.5), max_weight_position=(0.0, 1.0), min_weight=(0.0, 1.0), min_weight_distance=(1.0, 1.0)
    )
    fields = {"direction_scope": tuple(scopes), "direction_index": (0.4, 0.9), "spans": ((2, 0, 1),)}
    return Space.model_validate({**fields, "attention": kernel.model_dump(), "mlp": kernel.model_dump(), **changes})


@pytest.mark.parametrize("biprojected", [False, True])
@pytest.mark.parametrize("scopes", [["global"], ["per_layer"], ["spans"], ["global", "per_layer", "spans"]])
def test_a_search_reads_each_weight_once_in_advance(scopes: list[Scope], biprojected: bool) -> None:
    reads: list[str] = []

    def counted(layout: ParameterLayout) -> Blocks:
        reads.append(layout.parameter)
        return blocks_in_memory(PARAMETERS, layout)

    writers = [sample_writer(layer, matrix=sample_layout("0.mlp.weight")) for layer in range(LAYERS)]
    searched = space(scopes)
    for writer in writers:
        cache = EditCache(counted, PARAMETERS, "columns", DIRECTIONS, MEANS)
        reads.clear()
        vectors_for = partial(
            vectors_of_search, space=searched, layers=LAYERS, positions=POSITIONS, biprojected=biprojected
        )
        prepare_products(cache, [writer, EXPERTS], vectors_for)
        assert reads == (["0.mlp.weight"] if list(vectors_for(writer)) else [])
        for scope in scopes:
            for index in (0.4 * (LAYERS - 1), 1.9, 0.9 * (LAYERS - 1)):
                parameters = TrialParameters(
                    direction_scope=scope, direction_index=index, position=1, attention=KERNEL, mlp=KERNEL
                )
                orthogonalize = "biprojected" if biprojected else "projected"
                shared = sample_settings(orthogonalize=orthogonalize, spans=list(searched.spans))
                edits = build_edits(parameters, [writer], shared)
                if edits:
                    assert_trial_equals(factors_of_trials(cache, edits), 0, expected(edits[0], "columns"))
        assert len(reads) <= 1


def test_other_products_are_computed_when_an_edit_first_needs_them() -> None:
    cache = cache_in_memory("rows")
    prepare_products(cache, [PLAIN], lambda _: [BasisVector(0, 2, mean=False)])
    edit = sample_edit(PLAIN, 0.8, sample_direction(3.4, position=1, orthogonalize_to=2))
    assert_trial_equals(factors_of_trials(cache, [edit]), 0, expected(edit, "rows"))
    assert cache.products(PLAIN.matrix, PLAIN.norms, []).vectors == (
        BasisVector(0, 2, mean=False),
        BasisVector(1, 3, mean=False),
        BasisVector(1, 4, mean=False),
        BasisVector(1, 2, mean=True),
    )


def test_experts_have_a_closed_form_only_if_all_share_it() -> None:
    edits = edits_of(EXPERTS)
    actual = factors_of_trials(cache_in_memory("none"), edits)
    for trial, edit in enumerate(edits):
        alone = expected(edit, "none")
        for batched, single in ((actual.r, alone.r), (actual.a, alone.a), (actual.b, alone.b)):
            torch.testing.assert_close(batched[trial], single, rtol=1e-12, atol=1e-12)
    with pytest.raises(UnwriteError, match="experts holds 3 matrices"):
        factors_of_trials(cache_in_memory("rows"), edits)


def test_a_strength_that_is_not_finite_is_refused() -> None:
    edit = edits_of(PLAIN)[0].model_copy(update={"strength": float("nan")})
    with pytest.raises(UnwriteError, match="must be a finite number, got nan"):
        factors_of_trials(cache_in_memory("rows"), [edit])


def test_a_weight_with_nan_is_an_error_with_a_remedy() -> None:
    parameters = {**PARAMETERS, "0.mlp.weight": torch.full_like(PARAMETERS["0.mlp.weight"], torch.nan)}
    cache = cache_in_memory("none", parameters=parameters)
    with pytest.raises(UnwriteError, match=r"^0\.mlp\.weight: the weight holds NaN .*Check the files"):
        factors_of_trials(cache, edits_of(PLAIN))
