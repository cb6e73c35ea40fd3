"""The parameters of one module are found: axes, biases, and modules that no edit of weights can clear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import EXPERTS, D, Layer, Listed, Mlp, recorded_layer
from unwrite.models.discovery.parameters import Weight, find_weights
from unwrite.models.discovery.probes import UnprovableError

pytestmark = pytest.mark.usefixtures("no_grad")


def test_a_linear_layer_writes_along_its_first_axis_with_its_bias() -> None:
    recorded = recorded_layer(Layer(nn.Sequential(nn.ReLU(), nn.Linear(D, D))))
    assert find_weights(recorded, "mlp.1") == (Weight("mlp.1.weight", 0, 1, "mlp.1.bias", 0),)


def test_only_the_last_matrix_of_a_module_writes() -> None:
    recorded = recorded_layer(Layer(Mlp(D)))
    assert find_weights(recorded, "mlp") == (Weight("mlp.down.weight", 0, 1, None, 0),)


def test_an_expert_that_no_token_reaches_writes_like_the_others() -> None:
    recorded = recorded_layer(Layer(Listed(reached=3)))
    assert {weight.parameter for weight in find_weights(recorded, "mlp")} == {
        f"mlp.experts.{expert}.down.weight" for expert in range(EXPERTS)
    }


class Biased(nn.Module):
    """Two matrices and two biases; one bias is in the same module as its matrix, the other is not."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(D))
        self.first, self.second = nn.Linear(D, D, bias=False), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x.relu()) + self.second(x.sigmoid()) + self.bias
        return y


def test_a_bias_belongs_first_to_the_matrix_of_its_own_module() -> None:
    weights = find_weights(recorded_layer(Layer(Biased())), "mlp")
    assert {weight.parameter: weight.bias for weight in weights} == {
        "mlp.first.weight": "mlp.bias",
        "mlp.second.weight": "mlp.second.bias",
    }


class OnlyABias(nn.Module):
    """A module that writes the same for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(D))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + torch.zeros_like(x)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.LayerNorm(D), r"mlp \(LayerNorm\) cannot be edited exactly: \d+\.\d% of its output stays .* bias edited"),
        (nn.RMSNorm(D), r"mlp \(RMSNorm\) .*: none of its parameters writes along one axis"),
        (OnlyABias(), r"mlp \(OnlyABias\) .*: only biases write \(bias\)"),
    ],
)
def test_a_module_without_an_exact_edit_is_refused_with_the_reason(module: nn.Module, reason: str) -> None:
    with pytest.raises(UnprovableError, match=reason):
        find_weights(recorded_layer(Layer(module)), "mlp")
