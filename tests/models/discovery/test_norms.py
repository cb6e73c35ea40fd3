"""Norms and learned scales are recognized by what they compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import D, Layer, Mlp, Scale, Then, recorded_layer
from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.norms import find_norm

pytestmark = pytest.mark.usefixtures("no_grad")


class OffsetNorm(nn.Module):
    """A norm whose scale is 1 + weight, as in Gemma."""

    def __init__(self, learned: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(D)) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        unit = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return unit if self.weight is None else unit * (1 + self.weight)


class BiasedNorm(OffsetNorm):
    """A root mean square norm that adds a bias, `times` over."""

    def __init__(self, times: float = 1.0) -> None:
        super().__init__()
        self.shift, self.times = nn.Parameter(torch.empty(D)), times

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.times * self.shift


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.RMSNorm(D), FoundNorm("mlp", "mlp.weight", 0.0)),
        (OffsetNorm(), FoundNorm("mlp", "mlp.weight", 1.0)),
        (OffsetNorm(learned=False), FoundNorm("mlp", None, 1.0)),
        (Scale(), FoundNorm("mlp", "mlp.gamma", 0.0)),
        (Scale(1.0), FoundNorm("mlp", "mlp.gamma", 1.0)),
        (Then(lambda _y, x, vector: x * vector[0]), None),  # a factor that all components share
        (Then(lambda _y, x, vector: x * vector + 1e-3), None),
        (nn.LayerNorm(D), FoundNorm("mlp", "mlp.weight", 0.0, centered=True, bias="mlp.bias")),
        (nn.LayerNorm(D, bias=False), FoundNorm("mlp", "mlp.weight", 0.0, centered=True)),
        (nn.LayerNorm(D, elementwise_affine=False), FoundNorm("mlp", None, 1.0, centered=True)),
        (BiasedNorm(), FoundNorm("mlp", "mlp.weight", 1.0, bias="mlp.shift")),
        (BiasedNorm(times=2.0), None),  # what it adds is not a parameter
        (Mlp(), None),
        (nn.Identity(), None),
    ],
)
def test_norms_and_scales_are_recognized_by_what_they_compute(module: nn.Module, expected: FoundNorm | None) -> None:
    assert find_norm(recorded_layer(Layer(module)), "mlp") == expected
