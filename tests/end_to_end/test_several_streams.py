"""Models with several residual streams, and with layers that run several times.

They are pinned, edited alike in memory, on activations and on disk, and verified.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.support.releases import flip_bit
from tests.support.samples import KERNEL, sample_settings
from tests.support.subjects import loaded, logits
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.direction_set import compute_directions
from unwrite.editing.activations import edited_activations
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.exact import parameter_names
from unwrite.editing.recipe import make_recipe
from unwrite.editing.weights import edited
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.layers import decoder_layers, layer_output
from unwrite.models.placement import parameters_of
from unwrite.models.residuals import extract_residuals
from unwrite.pipeline.pinning import pin_base
from unwrite.release.save import save_edited_checkpoint
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import Base, TrialParameters
from unwrite.terms import NormPreservation

FULL = KERNEL.model_copy(update={"max_weight": 1.0, "min_weight": 1.0, "min_weight_distance": 100.0})
PROMPTS = {kind: [[first + n, 7 + n, last] for n in range(4)] for kind, first, last in (("a", 20, 9), ("b", 40, 11))}


class Pinned(NamedTuple):
    """A model in float64, its folder, its record, and directions from its own residuals."""

    model: Any
    folder: Path
    base: Base
    directions: dict[str, Tensor]


SEVERAL_STREAMS = ("hy_v4", "deepseek_v4")


@pytest.fixture(scope="module")
def pinned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pinned:
    folder = tmp_path_factory.mktemp(request.param) / "base"
    zoo_model(request.param, torch.float64).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    model, base = loaded(folder), pin_base(str(folder))
    with float64_throughout():
        target, baseline = (extract_residuals(model, prompts) for prompts in PROMPTS.values())
    return Pinned(model, folder, base, compute_directions(target, baseline, orthogonalization="projected"))


def parameters(**changes: Any) -> TrialParameters:
    return TrialParameters(
        **{"direction_scope": "global", "direction_index": 2.0, "position": 0, "attention": FULL, "mlp": FULL} | changes
    )


@pytest.mark.parametrize("pinned", SEVERAL_STREAMS, indirect=True)
def test_the_record_says_how_many_streams_there_are(pinned: Pinned) -> None:
    assert pinned.base.streams == 2
    assert pinned.base.incomplete == []


def along(pinned: Pinned) -> float:
    """The largest share that is added to a stream along the direction at index 2, over layers."""
    v = pinned.directions["directions"][0, 2].double()
    v = v / v.norm()
    layers, streams = decoder_layers(pinned.model), []
    hooks = [layers[0].register_forward_pre_hook(lambda _m, args: streams.append(args[0].clone()))]
    hooks += [layer.register_forward_hook(lambda _m, _a, out: streams.append(layer_output(out))) for layer in layers]

    def clear(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0] - (args[0] @ v)[..., None] * v, *args[1:])

    hooks.append(layers[0].register_forward_pre_hook(clear))
    logits(pinned.model)
    for hook in hooks:
        hook.remove()
    return max(float((one @ v).abs().max() / one.norm(dim=-1).max()) for one in streams[1:])


@pytest.mark.parametrize("pinned", SEVERAL_STREAMS, indirect=True)
def test_no_stream_gains_anything_along_the_direction_once_every_writer_is_edited(pinned: Pinned) -> None:
    recipe = make_recipe(parameters(), pinned.base.writers, sample_settings(norm_preservation="none"))
    assert along(pinned) > 1e-2
    with edited(pinned.model, recipe, pinned.directions):
        assert along(pinned) < 1e-12
    half = make_recipe(
        parameters(mlp=FULL.model_copy(update={"max_weight": 0.0, "min_weight": 0.0})),
        pinned.base.writers,
        sample_settings(norm_preservation="none"),
    )
    with edited(pinned.model, half, pinned.directions):
        assert along(pinned) > 1e-3  # control


@pytest.mark.parametrize("mode", ["none", "rows"])
@pytest.mark.parametrize("pinned", [*SEVERAL_STREAMS, "hrm_text"], indirect=True)
def test_memory_activations_and_checkpoint_agree_and_the_release_verifies(
    mode: NormPreservation, pinned: Pinned, tmp_path: Path
) -> None:
    model, writers, stored = pinned.model, pinned.base.writers, pinned.directions
    recipe = make_recipe(parameters(attention=KERNEL, mlp=KERNEL), writers, sample_settings(norm_preservation=mode))
    before = logits(model)
    with edited(model, recipe, stored):
        in_memory = logits(model)
    assert float((in_memory - before).abs().max()) > 1e-3
    values = parameters_of(model, parameter_names(writers))
    cache = EditCache(partial(blocks_in_memory, values), values, mode, stored["directions"], stored["baseline_mean"])
    with edited_activations(model, [recipe.edits], writers, cache):
        assert float((logits(model) - in_memory).abs().max()) < 1e-9
    release = tmp_path / "release"
    save_edited_checkpoint(release, pinned.folder, pinned.base, recipe, stored)
    assert float((logits(loaded(release)) - in_memory).abs().max()) < 1e-12
    found = verify_release(release, pinned.folder)
    assert (found.passed, found.complete) == (True, True), found
    flip_bit(release, writers[0].matrix.stored[0].tensor)
    assert not verify_release(release, pinned.folder).passed
