"""The closed form of a recipe's edits, no weight read again: equal to `core.edit.factors`, whatever is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.samples import KERNEL, sample_direction, sample_edit, sample_layout, sample_settings, sample_writer
from tests.support.tiny import random_direction
from unwrite.core.edit import Factors, factors
from unwrite.core.layout import as_matrices
from unwrite.editing.edit_cache import (
    BasisVector,
    Blocks,
    EditCache,
    blocks_in_memory,
    blocks_of_model,
    blocks_on_disk,
    factors_of_trials,
    prepare_products,
    vectors_of_search,
)
from unwrite.editing.exact import applied_direction
from unwrite.editing.recipe import build_edits
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import stored_tensors
from unwrite.schema.artifacts import DirectionRef, Edit, Norm, ParameterLayout, TrialParameters, Writer
from unwrite.schema.params import KernelSpace, Space
from unwrite.terms import NormPreservation, Scope

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
LAYERS, D, K, POSITIONS = 4, 12, 7, 2
REFERENCES = [
    sample_direction(2.0),
    sample_direction(1.37),
    sample_direction(3.999, position=1),
    sample_direction(float(LAYERS)),
    sample_direction(2.6, orthogonalize_to=1),
    sample_direction(1.2, position=1, orthogonalize_to=4),
]
GAMMA = Norm(parameter="norm", tensor="norm", offset=1.0)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DIRECTIONS = torch.stack([random_direction(D, seed) for seed in range(POSITIONS * (LAYERS + 1))]).reshape(
    POSITIONS, LAYERS + 1, D
)
MEANS = 5 * normal(POSITIONS, LAYERS + 1, D, seed=99)
PARAMETERS = {
    "0.mlp.weight": normal(D, K, seed=1),
    "transposed": normal(K, D, seed=2),
    "experts": normal(3, D, K, seed=3),
    "bias": normal(D, seed=4),
    "norm": normal(D, seed=5),
}
PLAIN = sample_writer()
TRANSPOSED = sample_writer(matrix=sample_layout("transposed", 1), bias=sample_layout("bias"))
NORMED = sample_writer(norms=[GAMMA])
EXPERTS = sample_writer(matrix=sample_layout("experts", 1, 3), norms=[GAMMA])


def closed_form(mode: NormPreservation, directions: Tensor = DIRECTIONS) -> EditCache:
    return EditCache(partial(blocks_in_memory, PARAMETERS), PARAMETERS, mode, directions, MEANS, {})


def edits_of(writer: Writer, references: Sequence[DirectionRef] = REFERENCES) -> list[Edit]:
    return [sample_edit(writer, 0.6 + 0.15 * place, reference) for place, reference in enumerate(references)]


def expected(edit: Edit, mode: NormPreservation, directions: Tensor = DIRECTIONS) -> Factors:
    matrix = as_matrices(PARAMETERS[edit.matrix.parameter], edit.matrix.axis, edit.matrix.num_matrices)[0]
    direction = applied_direction(edit, directions, MEANS, PARAMETERS)
    return factors(lambda: [(slice(0, D), matrix)], direction, edit.strength, mode)


def assert_trial_is(found: Factors, trial: int, wanted: Factors) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one[trial], other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("writer", [PLAIN, TRANSPOSED, NORMED], ids=["plain", "transposed", "norm after it"])
def test_equal_to_the_factors_of_the_weight(writer: Writer, mode: NormPreservation) -> None:
    edits = edits_of(writer)
    found = factors_of_trials(closed_form(mode), edits)
    for trial, edit in enumerate(edits):
        assert_trial_is(found, trial, expected(edit, mode))
        alone = factors_of_trials(closed_form(mode), [edit])
        assert_trial_is(alone, 0, expected(edit, mode))


@pytest.mark.parametrize("mode", MODES)
def test_trials_that_leave_a_writer_alone(mode: NormPreservation) -> None:
    edit = edits_of(PLAIN)[1]
    zero = DIRECTIONS.clone()
    zero[0, 1:3] = 0
    found = factors_of_trials(
        closed_form(mode, zero), [None, edit, edit.model_copy(update={"direction": REFERENCES[2]})]
    )
    nothing = expected(edit.model_copy(update={"strength": 0.0}), mode)
    assert_trial_is(found, 0, nothing)
    assert_trial_is(found, 1, nothing)  # no direction there
    assert found.a[2].any()


@pytest.mark.parametrize("mode", MODES)
def test_only_a_zero_remainder_of_a_biprojection_edits_nothing(mode: NormPreservation) -> None:
    along = DIRECTIONS.clone()
    along[0, 2] = MEANS[0, 1] / MEANS[0, 1].norm()
    edit = sample_edit(PLAIN, 1.0, sample_direction(2.0, orthogonalize_to=1))
    assert not factors_of_trials(closed_form(mode, along), [edit]).a.any()
    assert factors_of_trials(closed_form(mode), [edit]).a.any()


def space(scopes: Sequence[Scope], **changes: object) -> Space:
    kernel = KernelSpace(
        max_weight=(0.5, 1.5), max_weight_position=(0.0, 1.0), min_weight=(0.0, 1.0), min_weight_distance=(1.0, 1.0)
    )
    fields = {"direction_scope": tuple(scopes), "direction_index": (0.4, 0.9), "spans": ((2, 0, 1),)}
    return Space.model_validate({**fields, "attention": kernel.model_dump(), "mlp": kernel.model_dump(), **changes})


@pytest.mark.parametrize("biprojected", [False, True])
@pytest.mark.parametrize("scopes", [["global"], ["per_layer"], ["spans"], ["global", "per_layer", "spans"]])
def test_what_a_search_can_ask_for_is_read_once_beforehand(scopes: list[Scope], biprojected: bool) -> None:
    reads: list[str] = []

    def counted(layout: ParameterLayout) -> Blocks:
        reads.append(layout.parameter)
        return blocks_in_memory(PARAMETERS, layout)

    form = closed_form("columns")._replace(blocks=counted)
    writers = [sample_writer(layer, matrix=sample_layout("0.mlp.weight")) for layer in range(LAYERS)]
    searched = space(scopes)
    for writer in writers:
        form.known.clear()
        reads.clear()
        wanted = partial(vectors_of_search, space=searched, layers=LAYERS, positions=POSITIONS, biprojected=biprojected)
        prepare_products(form, [writer, EXPERTS], wanted)
        assert reads == (["0.mlp.weight"] if list(wanted(writer)) else [])
        for scope in scopes:
            for index in (0.4 * (LAYERS - 1), 1.9, 0.9 * (LAYERS - 1)):
                parameters = TrialParameters(
                    direction_scope=scope, direction_index=index, position=1, attention=KERNEL, mlp=KERNEL
                )
                orthogonalize = "biprojected" if biprojected else "projected"
                shared = sample_settings(orthogonalize=orthogonalize, spans=list(searched.spans))
                edits = build_edits(parameters, [writer], shared)
                if edits:
                    assert_trial_is(factors_of_trials(form, edits), 0, expected(edits[0], "columns"))
        assert len(reads) <= 1


def test_anything_else_is_read_when_it_is_asked_for() -> None:
    form = closed_form("rows")
    prepare_products(form, [PLAIN], lambda _: [BasisVector(0, 2, mean=False)])
    edit = sample_edit(PLAIN, 0.8, sample_direction(3.4, position=1, orthogonalize_to=2))
    assert_trial_is(factors_of_trials(form, [edit]), 0, expected(edit, "rows"))
    assert form.known["0.mlp.weight"].vectors == (
        BasisVector(0, 2, mean=False),
        BasisVector(1, 3, mean=False),
        BasisVector(1, 4, mean=False),
        BasisVector(1, 2, mean=True),
    )


@pytest.mark.parametrize("mode", MODES)
def test_memory_and_checkpoint_give_the_same(mode: NormPreservation, tmp_path: Path) -> None:
    rounded = {name: value.bfloat16() for name, value in PARAMETERS.items()}
    save_file(rounded, tmp_path / "model.safetensors")
    packed = {
        **rounded,
        "0.mlp.weight": torch.zeros(1, dtype=torch.uint8),
        "transposed": torch.zeros(1, dtype=torch.int8),
    }
    on_disk = blocks_of_model(packed, tmp_path)
    in_memory = blocks_of_model(rounded, tmp_path / "nowhere")
    for writer in (PLAIN, TRANSPOSED):
        found = [
            factors_of_trials(EditCache(blocks, rounded, mode, DIRECTIONS, MEANS, {}), edits_of(writer))
            for blocks in (on_disk, in_memory)
        ]
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    with pytest.raises(UnwriteError, match=r"The checkpoint has no other"):
        blocks_on_disk(stored_tensors(tmp_path), sample_layout("other"))


def test_experts_have_a_closed_form_only_where_it_is_that_of_each() -> None:
    edits = edits_of(EXPERTS)
    found = factors_of_trials(closed_form("none"), edits)
    for trial, edit in enumerate(edits):
        wanted = expected(edit, "none")
        for one, other in ((found.r, wanted.r), (found.a, wanted.a), (found.b, wanted.b)):
            torch.testing.assert_close(one[trial], other, rtol=1e-12, atol=1e-12)
    with pytest.raises(UnwriteError, match="experts holds 3 matrices"):
        factors_of_trials(closed_form("rows"), edits)


def test_a_strength_that_is_not_finite() -> None:
    edit = edits_of(PLAIN)[0].model_copy(update={"strength": float("nan")})
    with pytest.raises(UnwriteError, match="isn't finite"):
        factors_of_trials(closed_form("rows"), [edit])
