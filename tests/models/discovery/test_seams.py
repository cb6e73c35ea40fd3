"""Layers that run several times: what runs between must add nothing, and then the edit of their writers is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.probe import TOKENS, edited, written_along
from tests.support.synthetic_layers import Artificial, D, Layer, Mlp, examined
from tests.support.tiny import random_direction
from tests.support.zoo import zoo_config, zoo_model
from unwrite.models.captured_layers import run_model
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.writers import find_writers
from unwrite.models.layers import decoder_layers
from unwrite.models.patching import mapped_stream
from unwrite.models.residuals import extract_residuals

Seam = Callable[[Tensor, Tensor], Tensor]  # of what was passed on and the embeddings: what goes into the next run


class Again(Artificial):
    """A model whose stack runs three times, with something in between."""

    def __init__(self, seam: Seam, *modules: nn.Module) -> None:
        super().__init__(Layer(Mlp()), Layer(Mlp()))
        self.seam, self.parts = seam, nn.ModuleList(modules)

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        embeddings = self.embed(input_ids)
        stream = embeddings
        for run in range(3):
            stream = stream if run == 0 else self.seam(stream, embeddings)
            for layer in self.layers:
                stream = layer(stream)
        y: Tensor = stream
        return y


def again(name: str) -> Again:
    """Return a model with this seam."""
    matrix, scale = nn.Linear(D, D), nn.RMSNorm(D)
    seams: dict[str, tuple[Seam, tuple[nn.Module, ...]]] = {
        "nothing": (lambda x, _e: x, ()),
        "the embeddings": (lambda x, e: x + e, ()),
        "a norm without a scale": (lambda x, e: x / x.norm(dim=-1, keepdim=True) + e, ()),
        "a norm with a scale": (lambda x, _e: scale(x), (scale,)),
        "a matrix": (lambda x, _e: x + matrix(x), (matrix,)),
    }
    seam, modules = seams[name]
    return Again(seam, *modules)


@pytest.mark.parametrize("name", ["nothing", "the embeddings", "a norm without a scale"])
def test_stack_that_runs_several_times_has_the_writers_of_its_layers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovery = examined(again(name), monkeypatch)
    assert discovery.incomplete == []
    assert [writer.parameter for writer in discovery.writers] == [f"layers.{n}.mlp.down.weight" for n in range(2)]


@pytest.mark.parametrize("name", ["a norm with a scale", "a matrix"])
def test_what_writes_between_two_runs_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(again(name), monkeypatch).incomplete == ["something writes the stream between layers 1 and 0"]


V = random_direction(32)


def last_streams(model: nn.Module) -> Tensor:
    """Run a model whose embeddings have nothing along V; return the output of its last layer in every run."""
    outputs: list[Tensor] = []
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    hooks = [
        embedding.register_forward_hook(lambda _m, _a, output: output - (output @ V).unsqueeze(-1) * V),
        decoder_layers(model)[-1].register_forward_hook(lambda _m, _a, output: outputs.append(output)),
    ]
    with float64_throughout(), torch.no_grad():
        run_model(model, {"input_ids": TOKENS})
    for hook in hooks:
        hook.remove()
    return torch.stack(outputs)


@torch.no_grad()
def test_two_stacks_that_run_in_turn_lose_a_direction_in_every_run_once_all_writers_are_edited() -> None:
    writers = find_writers(zoo_config("hrm_text")).writers
    assert [(writer.parameter, writer.layer) for writer in writers] == [
        (f"model.{stack}_module.layers.{layer}.{name}.weight", number)
        for number, (stack, layer) in enumerate([("L", 0), ("L", 1), ("H", 0), ("H", 1)])
        for name in ("self_attn.o_proj", "mlp.down_proj")
    ]
    for left_out in (None, *writers):
        model: Any = zoo_model("hrm_text", torch.float64, seed=3)  # other weights than the miniature's
        model.model.z_L_init.zero_()  # as in every checkpoint: it is no weight, it is where the stream begins
        edited(model, [writer for writer in writers if writer != left_out], V)
        along = float((last_streams(model) @ V).abs().max())
        assert along < 1e-9 if left_out is None else along > 1e-3, left_out
        assert (written_along(model, V) < 1e-9) is (left_out is None)


def test_residuals_of_a_stack_that_runs_several_times_are_those_of_its_last_run() -> None:
    model = zoo_model("hrm_text")
    seen: list[Tensor] = []
    layers = decoder_layers(model)
    hooks = [layers[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))]
    hooks += [layer.register_forward_hook(lambda _m, _a, output: seen.append(output)) for layer in layers]
    residuals = extract_residuals(model, [[3, 4, 5]])
    for hook in hooks:
        hook.remove()
    assert len(seen) == 2 * 3 + 2  # two runs of the lower stack, one of the upper one
    assert torch.equal(residuals[0, 0], torch.stack([stream[0, -1] for stream in seen[-5:]]))


def test_a_direction_is_projected_out_of_what_goes_into_every_list_of_layers() -> None:
    model, v = zoo_model("hrm_text"), V.float()
    seen: list[Tensor] = []
    with mapped_stream(model, lambda x: x - (x @ v).unsqueeze(-1) * v):
        hooks = [
            layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0])) for layer in decoder_layers(model)
        ]
        extract_residuals(model, [[3, 4, 5]])
    for hook in hooks:
        hook.remove()
    assert len(seen) == 6
    assert max(float((stream @ v).abs().max()) for stream in seen) < 1e-5
