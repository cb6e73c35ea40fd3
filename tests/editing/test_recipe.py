"""Recipes against the formulas of the design: kernel, scopes, spans and biprojection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recipes import LAYERS, NORM, OFF, build, trial, writers
from tests.support.samples import sample_settings
from unwrite.editing.recipe import build_edits, make_recipe, source_index
from unwrite.schema.artifacts import DirectionRef, Kernel, Recipe, SelectedTrial, as_json


def kernels() -> st.SearchStrategy[Kernel]:
    return st.builds(
        Kernel,
        max_weight=st.floats(0, 2),
        max_weight_position=st.floats(0, LAYERS - 1),
        min_weight=st.floats(0, 2),
        min_weight_distance=st.floats(0.5, LAYERS),
    )


@given(kernels(), kernels())
def test_strengths_follow_the_kernel_of_each_component(attention: Kernel, mlp: Kernel) -> None:
    expected = {}
    for component, kernel in (("attention", attention), ("mlp", mlp)):
        for layer in range(LAYERS):
            distance = abs(layer - kernel.max_weight_position)
            share = distance / kernel.min_weight_distance
            weight = kernel.max_weight + (kernel.min_weight - kernel.max_weight) * share
            if share <= 1 and abs(weight) > 1e-12:
                expected[f"{layer}.{component}.weight"] = weight
    edits = build(trial(attention=attention, mlp=mlp))
    actual = {
        edit.matrix.parameter: edit.strength for edit in edits if abs(edit.strength) > 1e-12
    }  # less is rounding, not λ
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_writers_of_strength_zero_are_not_edited() -> None:
    assert {edit.component for edit in build(trial(mlp=OFF))} == {"attention"}
    assert build(trial(attention=OFF, mlp=OFF)) == []


def test_edits_keep_the_order_layer_and_component_of_the_writers() -> None:
    actual = [(edit.matrix, edit.layer, edit.component) for edit in build(trial())]
    assert actual == [(w.matrix, w.layer, w.component) for w in writers()]


@pytest.mark.parametrize("edit_bias", [True, False])
def test_biases_are_edited_only_if_the_settings_say_so(edit_bias: bool) -> None:
    biases = [edit.bias for edit in build(trial(), edit_bias=edit_bias)]
    assert biases == [w.bias if edit_bias else None for w in writers(bias=True)]
    plain = build_edits(trial(), writers(), sample_settings(post_norm="ignore"))
    assert all(edit.bias is None for edit in plain)


def test_norms_are_listed_only_if_they_are_compensated() -> None:
    assert all(edit.norms == [NORM] for edit in build(trial(), post_norm="compensate"))
    assert all(edit.norms == [] for edit in build(trial(), post_norm="ignore"))


def test_global_gives_every_layer_the_trials_index_and_position() -> None:
    for edit in build(trial(index=3.25, position=1)):
        assert edit.direction == DirectionRef(position=1, index=3.25, orthogonalize_to=None)


def test_per_layer_gives_each_layer_its_own_output() -> None:
    for edit in build(trial("per_layer", index=3.25, position=2)):
        assert edit.direction == DirectionRef(position=2, index=edit.layer + 1, orthogonalize_to=None)


SPANS = ((4, 1, 2), (5, 4, 4))


def test_spans_use_the_output_of_their_source_layer_and_skip_other_layers() -> None:
    actual = {edit.layer: edit.direction.index for edit in build(trial("spans"), SPANS)}
    assert actual == {1: 5.0, 2: 5.0, 4: 6.0}


def test_the_source_index_follows_the_scope() -> None:
    assert source_index("spans", 2.5, 0, SPANS) is None
    assert source_index("spans", 2.5, 4, SPANS) == 6.0
    assert source_index("per_layer", 2.5, 0, SPANS) == 1.0
    assert source_index("global", 2.5, 0, SPANS) == 2.5


def test_biprojected_orthogonalizes_only_directions_of_other_layers() -> None:
    for edit in build(trial("per_layer"), orthogonalize="biprojected"):
        assert edit.direction.orthogonalize_to is None
    for edit in build(trial(index=3.0), orthogonalize="biprojected"):
        assert edit.direction.orthogonalize_to == (None if edit.layer == 2 else edit.layer + 1)
    for edit in build(trial(index=2.5), orthogonalize="biprojected"):
        assert edit.direction.orthogonalize_to == edit.layer + 1
    own = {
        edit.layer: edit.direction.orthogonalize_to
        for edit in build(trial("spans"), ((4, 3, 4),), orthogonalize="biprojected")
    }
    assert own == {3: 4, 4: None}


def test_a_recipe_made_by_hand_has_no_trial_and_survives_json() -> None:
    settings = sample_settings(spans=[(4, 1, 2)])
    recipe = make_recipe(trial("spans"), writers(bias=True), settings)
    assert recipe.trial is None
    assert recipe.selection == "chosen by hand"
    assert recipe.edits == build_edits(trial("spans"), writers(bias=True), settings) != []
    assert (recipe.parameters, recipe.settings) == (trial("spans"), settings)
    assert Recipe.model_validate(as_json(recipe)) == recipe


def test_a_recipe_of_a_trial_names_the_trial() -> None:
    selected = SelectedTrial(number=3, behaviour_rate=0.1, kl=0.01)
    recipe = make_recipe(trial(), writers(), sample_settings(), selection="named by number", trial=selected)
    assert (recipe.trial, recipe.selection) == (selected, "named by number")
