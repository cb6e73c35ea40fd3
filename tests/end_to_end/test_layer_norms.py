"""LayerNorms with biases after the writers: found, and edited alike in memory, on activations and on disk; verified."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.support.probe import edited as with_edits
from tests.support.probe import written_along
from tests.support.releases import change_tensor
from tests.support.samples import KERNEL, sample_settings
from tests.support.subjects import loaded, logits
from tests.support.tiny import random_direction, tiny_tokenizer
from tests.support.zoo import zoo_config, zoo_model
from unwrite.core.direction_set import compute_directions
from unwrite.editing.activations import edited_activations
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.exact import parameter_names
from unwrite.editing.lora import planned_changes
from unwrite.editing.recipe import make_recipe
from unwrite.editing.weights import edited
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import stored_tensors
from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.writers import find_writers
from unwrite.models.peft import plan_adapter
from unwrite.models.placement import parameters_of
from unwrite.pipeline.pinning import pin_base
from unwrite.release.save import save_edited_checkpoint
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import Base, Edit, Recipe, TrialParameters, biases_of
from unwrite.terms import NormPreservation

PARAMETERS = TrialParameters(direction_scope="global", direction_index=1.25, position=0, attention=KERNEL, mlp=KERNEL)
ATTENTION, MLP = "post_attention_layernorm", "post_feedforward_layernorm"


class LayerNorm(nn.LayerNorm):
    """A LayerNorm that is made as the root mean square norms of transformers are."""

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__(hidden_size, eps)


@pytest.fixture(scope="module", autouse=True)
def layer_norms() -> Iterator[None]:
    """While open, OLMo 2, which has norms after its writers, is made with LayerNorms."""
    from transformers.models.olmo2 import modeling_olmo2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_olmo2, "Olmo2RMSNorm", LayerNorm)
        yield


class Pinned(NamedTuple):
    """A model in float64, its folder, its record, and directions."""

    model: Any
    folder: Path
    base: Base
    directions: dict[str, Tensor]


@pytest.fixture(scope="module")
def pinned(layer_norms: None, tmp_path_factory: pytest.TempPathFactory) -> Pinned:
    folder = tmp_path_factory.mktemp("olmo2") / "base"
    zoo_model("olmo2", torch.float64).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    base = pin_base(str(folder))
    generator = torch.Generator().manual_seed(3)
    target, baseline = torch.randn((2, 8, 1, base.layers + 1, base.hidden_size), generator=generator)
    return Pinned(loaded(folder), folder, base, compute_directions(target, baseline, orthogonalization="projected"))


def recipe_of(pinned: Pinned, mode: NormPreservation, **settings: Any) -> Recipe:
    return make_recipe(PARAMETERS, pinned.base.writers, sample_settings(norm_preservation=mode, **settings))


def test_norms_are_found_with_their_biases_and_the_theorem_holds_on_the_full_model() -> None:
    discovery = find_writers(zoo_config("olmo2"))
    assert discovery.incomplete == []
    after = {writer.parameter.removeprefix("model.layers."): writer.norms for writer in discovery.writers}
    for layer in range(3):
        for name, norm in (("self_attn.o_proj", ATTENTION), ("mlp.down_proj", MLP)):
            module = f"model.layers.{layer}.{norm}"
            expected = FoundNorm(module, f"{module}.weight", 0.0, centered=True, bias=f"{module}.bias")
            assert after[f"{layer}.{name}.weight"] == (expected,)
    v = random_direction(32)

    def left(**edit: bool) -> float:
        model = zoo_model("olmo2", torch.float64, seed=3)
        return written_along(with_edits(model, discovery.writers, v, **edit), v)

    assert left() < 1e-9
    assert left(bias=False) > 1e-3
    assert left(norms=False) > 1e-3


def test_control_without_centering_the_direction_stays() -> None:
    writers = find_writers(zoo_config("olmo2")).writers
    v = random_direction(32)
    wrong = [one._replace(norms=tuple(norm._replace(centered=False) for norm in one.norms)) for one in writers]
    assert written_along(with_edits(zoo_model("olmo2", torch.float64, seed=3), wrong, v), v) > 1e-3


@pytest.mark.parametrize("settings", [{}, {"edit_bias": False}, {"post_norm": "ignore"}], ids=str)
@pytest.mark.parametrize("mode", ["none", "rows", "columns"])
def test_memory_activations_and_checkpoint_agree(
    mode: NormPreservation, settings: dict[str, Any], pinned: Pinned, tmp_path: Path
) -> None:
    recipe = recipe_of(pinned, mode, **settings)
    assert any(map(biases_of, recipe.edits)) == (not settings)
    model = pinned.model
    before = logits(model)
    with edited(model, recipe, pinned.directions):
        in_memory = logits(model)
    assert float((in_memory - before).abs().max()) > 1e-3
    parameters = parameters_of(model, parameter_names(pinned.base.writers))
    blocks = partial(blocks_in_memory, parameters)
    stored = pinned.directions
    cache = EditCache(blocks, parameters, mode, stored["directions"], stored["baseline_mean"])
    trials: list[list[Edit]] = [recipe.edits, []]
    with edited_activations(model, trials, pinned.base.writers, cache) as select:
        select([0, 1])
        on_activations = logits(model)
    assert float((on_activations[0] - in_memory[0]).abs().max()) < 1e-9
    assert torch.equal(on_activations[1], before[1])  # the other trial edits nothing
    save_edited_checkpoint(tmp_path / "release", pinned.folder, pinned.base, recipe, pinned.directions)
    assert float((logits(loaded(tmp_path / "release")) - in_memory).abs().max()) < 1e-12


def test_the_release_verifies_and_not_with_the_bias_of_a_norm_as_it_was(pinned: Pinned, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    save_edited_checkpoint(folder, pinned.folder, pinned.base, recipe_of(pinned, "rows"), pinned.directions)
    found = verify_release(folder, pinned.folder)
    assert (found.passed, found.complete) == (True, True), found
    bias = f"model.layers.1.{MLP}.bias"
    assert bias in stored_tensors(folder)
    change_tensor(folder, bias, lambda values: values + 1)
    failed = verify_release(folder, pinned.folder)
    assert not failed.passed
    assert any(bias in detail for check in failed.checks for detail in check.details)


def test_an_adapter_refuses_the_bias_of_a_norm_and_has_the_rest(pinned: Pinned) -> None:
    config = zoo_config("olmo2")
    changes = planned_changes(recipe_of(pinned, "none"), pinned.base, 1)
    with pytest.raises(
        UnwriteError, match=rf"cannot adapt .*\.{ATTENTION}\.bias: it adapts the bias of a linear layer"
    ):
        plan_adapter(config, [change.target for change in changes], "base", None)
    without = planned_changes(recipe_of(pinned, "none", edit_bias=False), pinned.base, 1)
    assert len(without) == len(pinned.base.writers)
    assert plan_adapter(config, [change.target for change in without], "base", None).slots
