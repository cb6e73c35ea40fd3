"""A pass that begins at a layer repeats the bits of a whole pass, and edits below that layer do not reach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_model
from unwrite.models import lower_layers
from unwrite.models.generation import generate_greedily
from unwrite.models.layers import decoder_layers
from unwrite.models.lower_layers import LowerLayers
from unwrite.models.shared_work import SharedWork, prefix_cache
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEAD = [11, 12, 13, 14]
PROMPTS = [[*HEAD, *rest] for rest in ([3, 4, 5, 6, 7, 8, 9], [10], [20, 21, 22], [5, 6])]
RESPONSES = [[30, 31, 32], [33], [34, 35], []]
ROWS = range(len(PROMPTS))
LAYERS = 4


Around = Callable[[Sequence[int]], AbstractContextManager[object]]


def model_with_layers() -> PreTrainedModel:
    return tiny_model(tiny_config("llama", num_hidden_layers=LAYERS))


def layers_run(model: torch.nn.Module, run: Callable[[], object]) -> list[int]:
    """Return the numbers of the layers that computed an attention while `run` ran."""
    ran: list[int] = []
    handles = [
        layer.self_attn.register_forward_hook(lambda *_, number=number: ran.append(number))  # type: ignore[union-attr]
        for number, layer in enumerate(decoder_layers(model))
    ]
    run()
    for handle in handles:
        handle.remove()
    return ran


@pytest.mark.parametrize("prefix", [[], HEAD])
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_resumed_pass_repeats_every_bit(layer: int, prefix: Sequence[int]) -> None:
    model = model_with_layers()
    layers = LowerLayers(model, is_continued=False)

    def logits(around: Around = nullcontext) -> torch.Tensor:
        cached = prefix_cache(model, SharedWork(prefix), ROWS, 16)
        with around(ROWS):
            return response_logits(model, PROMPTS, RESPONSES, 4, cached)[0]

    expected = logits(layers.recording)
    resuming = partial(layers.resuming, layer=layer)
    assert torch.equal(logits(resuming), expected)
    in_prefix = list(range(LAYERS)) if prefix else []
    assert layers_run(model, lambda: logits(resuming)) == [*in_prefix, *range(layer, LAYERS)]
    assert torch.equal(logits(), expected)
    assert layers_run(model, logits) == [*in_prefix, *range(LAYERS)]  # the control: every layer runs again


@pytest.mark.parametrize("prefix", [[], HEAD])
@pytest.mark.parametrize("layer", [1, LAYERS - 1])
def test_responses_continue_from_recorded_keys_and_values(layer: int, prefix: Sequence[int]) -> None:
    model = model_with_layers()
    layers = LowerLayers(model, is_continued=True)
    respond = partial(generate_greedily, model, PROMPTS, 8, batches=[[3, 1], [0, 2]])
    expected = respond(shared=SharedWork(prefix, around=layers.recording))
    assert respond() == expected
    # An edit from `layer` on gives the same responses with and without the layers below it.
    decoder_layers(model)[layer].mlp.down_proj.weight.data *= -3  # type: ignore[union-attr, operator]
    edited = respond(shared=SharedWork(prefix))
    assert edited != expected
    assert respond(shared=SharedWork(prefix, around=partial(layers.resuming, layer=layer))) == edited


def test_an_edit_below_the_layer_does_not_reach_the_pass() -> None:
    model = model_with_layers()
    layers = LowerLayers(model, is_continued=False)
    with layers.recording(ROWS):
        expected = response_logits(model, PROMPTS, RESPONSES, 4)[0]
    decoder_layers(model)[1].mlp.down_proj.weight.data *= -3  # type: ignore[union-attr, operator]
    with layers.resuming(ROWS, 2):
        assert torch.equal(response_logits(model, PROMPTS, RESPONSES, 4)[0], expected)
    with layers.resuming(ROWS, 1):  # the control: this one begins at the edited layer
        assert not torch.equal(response_logits(model, PROMPTS, RESPONSES, 4)[0], expected)


def test_other_rows_run_every_layer() -> None:
    model = model_with_layers()
    layers = LowerLayers(model, is_continued=False)
    with layers.recording(ROWS):
        response_logits(model, PROMPTS, RESPONSES, 4)
    with layers.resuming([0, 1], 3):
        ran = layers_run(model, lambda: response_logits(model, PROMPTS[:2], RESPONSES[:2], 4))
    assert ran == list(range(LAYERS))


@pytest.mark.parametrize(("most", "begins_at"), [(1 << 20, 3), (2 * 4 * 14 * 32 * 4, 2), (100, 0)])
def test_what_does_not_fit_is_not_recorded(most: int, begins_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_layers, "MOST_BYTES", most)
    model = model_with_layers()
    layers = LowerLayers(model, is_continued=False)
    with layers.recording(ROWS):
        response_logits(model, PROMPTS, RESPONSES, 4)
    with layers.resuming(ROWS, 3):
        ran = layers_run(model, lambda: response_logits(model, PROMPTS, RESPONSES, 4))
    assert ran == list(range(begins_at, LAYERS))


def test_layers_that_return_more_than_a_stream_are_not_left_out() -> None:
    model = zoo_model("bloom", torch.float32)
    layers = LowerLayers(model, is_continued=False)
    returns_tensor: list[bool] = []
    with (
        decoder_layers(model)[0].register_forward_hook(
            lambda _m, _a, out: returns_tensor.append(isinstance(out, torch.Tensor))
        ),
        layers.recording(ROWS),
    ):
        expected = response_logits(model, PROMPTS, RESPONSES, 4)[0]
    assert returns_tensor == [False]
    with layers.resuming(ROWS, 1):
        assert torch.equal(response_logits(model, PROMPTS, RESPONSES, 4)[0], expected)
