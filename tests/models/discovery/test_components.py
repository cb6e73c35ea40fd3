"""A component is attention or MLP depending on what its module's output depends on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import D, Layer, Mlp, recorded_layer
from unwrite.models.discovery.branches import leaves, search_branches
from unwrite.models.discovery.components import find_components

pytestmark = pytest.mark.usefixtures("no_grad")


class CausalMean(nn.Module):
    """The mean of all tokens so far: as attention does, each output depends on earlier positions."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(D, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        counts = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        y: Tensor = self.out(x.cumsum(1) / counts)
        return y


class AttentionThenMlp(nn.Module):
    """Attention followed by an MLP, so that the MLP's input depends on earlier positions as well."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.RMSNorm(D), CausalMean()
        self.mlp_norm, self.mlp = nn.RMSNorm(D), Mlp()

    def forward(self, hidden_states: Tensor) -> Tensor:
        hidden_states = hidden_states + self.attention(self.norm(hidden_states))
        stream: Tensor = hidden_states + self.mlp(self.mlp_norm(hidden_states))
        return stream


@pytest.mark.parametrize("complete", [True, False])
def test_an_mlp_after_attention_is_an_mlp(complete: bool) -> None:
    recorded = recorded_layer(AttentionThenMlp())
    found_leaves = list(leaves(search_branches(recorded).branches))
    others = torch.randn(recorded.layer.stream().shape, generator=torch.Generator().manual_seed(9)).double()
    components = find_components(recorded, recorded.layer.with_stream(others), found_leaves, complete=complete)
    assert {leaf.branch.module: component for leaf, component in zip(found_leaves, components, strict=True)} == {
        "attention.out": "attention",
        "mlp.down": "mlp",
    }


def test_control_attention_that_is_not_fixed_makes_the_mlp_depend_on_earlier_positions() -> None:
    recorded = recorded_layer(AttentionThenMlp())
    mlp = [leaf for leaf in leaves(search_branches(recorded).branches) if leaf.branch.module == "mlp.down"]
    others = torch.randn(recorded.layer.stream().shape, generator=torch.Generator().manual_seed(9)).double()
    assert find_components(recorded, recorded.layer.with_stream(others), mlp, complete=True) == ["attention"]


def test_other_parts_of_an_incomplete_layer_are_fixed() -> None:
    recorded = recorded_layer(AttentionThenMlp())
    mlp = [leaf for leaf in leaves(search_branches(recorded).branches) if leaf.branch.module == "mlp.down"]
    others = torch.randn(recorded.layer.stream().shape, generator=torch.Generator().manual_seed(9)).double()
    assert find_components(recorded, recorded.layer.with_stream(others), mlp, complete=False) == ["mlp"]


def test_single_mlp_is_an_mlp() -> None:
    recorded = recorded_layer(Layer(Mlp()))
    found_leaves = list(leaves(search_branches(recorded).branches))
    others = torch.randn(recorded.layer.stream().shape, generator=torch.Generator().manual_seed(9)).double()
    assert find_components(recorded, recorded.layer.with_stream(others), found_leaves, complete=True) == ["mlp"]
