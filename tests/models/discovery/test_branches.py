"""The branches of a layer are the modules that add into the stream, with their norms; the rest is unexplained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import CalledTwice, D, Layer, Mlp, recorded_layer
from unwrite.models.discovery.branches import Branch, leaves, search_branches
from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.parameters import Weight

pytestmark = pytest.mark.usefixtures("no_grad")


DOWN = Weight("mlp.down.weight", 0, 1, None, 0)


def test_the_deepest_module_that_adds_is_the_branch() -> None:
    examination = search_branches(recorded_layer(Layer(Mlp())))
    assert examination.branches == (Branch("mlp.down", weights=(DOWN,)),)
    assert examination.reasons == []
    assert examination.unexplained < 1e-5


def test_container_is_the_branch_if_the_modules_in_it_do_not_add_up() -> None:
    examination = search_branches(recorded_layer(Layer(CalledTwice())))
    assert examination.branches == (Branch("mlp", weights=(DOWN,)),)


def test_search_continues_before_norms() -> None:
    examination = search_branches(recorded_layer(Layer(nn.Sequential(Mlp(), nn.RMSNorm(D), nn.RMSNorm(D)))))
    (leaf,) = leaves(examination.branches)
    assert leaf.branch == Branch("mlp.0.down", weights=(Weight("mlp.0.down.weight", 0, 1, None, 0),))
    assert leaf.norms == (FoundNorm("mlp.1", "mlp.1.weight", 0.0), FoundNorm("mlp.2", "mlp.2.weight", 0.0))


def scaled(stream: Tensor, y: Tensor) -> Tensor:
    return stream + y * torch.linspace(1, 2, D)


def bounded(stream: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(stream + y)


@pytest.mark.parametrize(
    ("add", "phrase"),
    [
        (scaled, "not explained by any module; each component is scaled separately after mlp.down"),
        (bounded, "the layer's input does not reach its output unchanged"),
    ],
)
def test_an_unexplained_share_has_a_reason(add: Callable[[Tensor, Tensor], Tensor], phrase: str) -> None:
    examination = search_branches(recorded_layer(Layer(Mlp(), add)))
    assert examination.branches == ()
    assert examination.unexplained > 0.01
    assert phrase in examination.reasons[0]
