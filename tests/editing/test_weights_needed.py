"""Which edits need weights: those of a sum of outputs that do not all lose the same projection, and shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.samples import sample_edit
from tests.support.subjects import MODES, Subject, edits_of_writers, subject
from unwrite.editing.weights_needed import why_edit_needs_weights, why_recipe_needs_weights
from unwrite.schema.artifacts import Edit
from unwrite.terms import NormPreservation


def reasons(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> list[str | None]:
    return [why_edit_needs_weights(of.model, edit, edits, of.writers, mode) for edit in edits]


@pytest.mark.parametrize("mode", MODES)
def test_activations_can_express_every_edit_of_one_matrix(mode: NormPreservation, folders: Path) -> None:
    for name in ("llama", "llama_bias", "gpt2", "gpt_neox", "gemma2"):
        of = subject(name, folders)
        assert set(reasons(of, edits_of_writers(of.writers, 1.0), mode)) == {None}
        assert set(reasons(of, edits_of_writers(of.writers, 1.0, bias=False), mode)) == {None}


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "dbrx"])
def test_experts_need_weights_unless_their_whole_output_is_projected(name: str, folders: Path) -> None:
    of = subject(name, folders)
    assert set(reasons(of, edits_of_writers(of.writers, 1.0), "none")) == {None}
    for mode in ("pre", "rows", "columns"):
        actual = reasons(of, edits_of_writers(of.writers, 1.0), mode)
        assert actual[0] is None
        assert "does more than multiply" in (actual[1] or "")
    half = reasons(of, edits_of_writers(of.writers, 1.0, bias=False), "none")[1]
    assert (half is None) == (name != "gpt_oss")


def test_several_writers_in_one_module_need_weights_unless_one_projection_fits_all(folders: Path) -> None:
    of = subject("llama4_text", folders)
    edits = edits_of_writers(of.writers, 1.0)
    assert set(reasons(of, edits, "none")) == {None}
    assert [reason is None for reason in reasons(of, edits, "rows")] == [True, True, True, False, False, True, True]
    assert "the sum of 2 writers" in (reasons(of, edits, "rows")[3] or "")
    attention, experts, shared = edits[2:5]
    other = [attention, experts, shared.model_copy(update={"strength": 0.5})]
    assert [reason is None for reason in reasons(of, other, "none")] == [True, False, False]
    assert [reason is None for reason in reasons(of, [attention, experts], "none")] == [True, False]


def test_a_parameter_that_other_layers_share_needs_weights(folders: Path) -> None:
    of = subject("llama", folders)
    shared = [of.writers[0].model_copy(update={"shared_layers": [2]}), *of.writers[1:]]
    edit = sample_edit(shared[0])
    assert "other layers use" in (why_edit_needs_weights(of.model, edit, [edit], shared, "none") or "")


def test_a_bias_outside_its_module_needs_weights(folders: Path) -> None:
    of = subject("llama_bias", folders)
    first = of.writers[0]
    assert first.bias is not None
    outside = first.bias.model_copy(update={"parameter": "model.layers.0.self_attn.o_bias"})
    bare = [first.model_copy(update={"bias": outside}), *of.writers[1:]]
    for bias in (outside, None):  # an unedited one is outside as well
        edit = sample_edit(bare[0]).model_copy(update={"bias": bias})
        reason = why_edit_needs_weights(of.model, edit, [edit], bare, "none")
        assert reason == f"the model adds {outside.parameter} to what {first.module} outputs"


def test_a_recipe_needs_weights_if_one_of_its_edits_does(folders: Path) -> None:
    of = subject("mixtral", folders)
    edits = edits_of_writers(of.writers, 1.0)
    assert why_recipe_needs_weights(of.model, edits, of.writers, "none") is None
    actual = why_recipe_needs_weights(of.model, edits, of.writers, "rows")
    assert actual is not None
    assert actual == reasons(of, edits, "rows")[1]
    assert why_recipe_needs_weights(of.model, [], of.writers, "rows") is None
