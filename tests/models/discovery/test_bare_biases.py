"""A bias that a layer adds by itself is found with its multiplier, and goes with a matrix that has none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import D, Layer, Mlp, recorded_layer
from unwrite.models.discovery.bare_biases import (
    Candidate,
    find_bare_biases,
    is_bare,
    pair_bare_biases,
    written_by_bare_biases,
)
from unwrite.models.discovery.branches import search_branches
from unwrite.models.discovery.parameters import Weight
from unwrite.models.discovery.probes import run_to
from unwrite.models.discovery.proof import examine_layer

pytestmark = pytest.mark.usefixtures("no_grad")


class WithBare(Layer):
    """h → h + factor · (branch(norm(h)) + times · b)."""

    def __init__(self, mlp: nn.Module, factor: float = 1.0, times: float = 1.0) -> None:
        super().__init__(mlp)
        self.mlp_bias, self.factor, self.times = nn.Parameter(torch.empty(D)), factor, times

    def forward(self, hidden_states: Tensor) -> Tensor:
        added = self.mlp(self.norm(hidden_states)) + self.times * self.mlp_bias
        stream: Tensor = hidden_states + self.factor * added
        return stream


def test_bare_bias_is_edited_with_a_matrix_that_has_none() -> None:
    examination = examine_layer(recorded_layer(WithBare(Mlp(), factor=0.5)), None)
    assert examination.reasons == []
    assert examination.unexplained < 1e-5
    (branch,) = examination.branches
    assert branch.weights == (Weight("mlp.down.weight", 0, 1, "mlp_bias", 0),)


@pytest.mark.parametrize(
    "layer",
    [
        WithBare(nn.Linear(D, D)),  # the matrix has a bias of its own
        WithBare(Mlp(), times=3.0),  # no bias of the matrix would reach the stream like this
    ],
)
def test_control_bare_bias_that_fits_no_matrix_is_unexplained(layer: nn.Module) -> None:
    examination = search_branches(recorded_layer(layer))
    assert examination.unexplained > 1e-3
    assert "not explained by mlp" in examination.reasons[0]


def test_bare_biases_are_found_with_what_they_write() -> None:
    layer = WithBare(nn.Linear(D, D), factor=0.5, times=3.0)
    recorded = recorded_layer(layer)
    base = run_to(recorded.layer, None)
    found = find_bare_biases(recorded, None, base, ["mlp"])
    assert set(found) == {"mlp_bias"}
    assert set(find_bare_biases(recorded, None, base, [])) == {"mlp_bias", "mlp.bias"}
    written = written_by_bare_biases(recorded, found)
    layer.mlp_bias.data = torch.zeros(D, dtype=torch.float64)
    assert written == pytest.approx(base - run_to(recorded.layer, None), abs=1e-4)
    assert written_by_bare_biases(recorded, {}) == 0


def test_biases_go_with_the_nearest_free_matrix() -> None:
    ones = torch.ones(3, dtype=torch.float64)
    one, two = (Weight(f"{name}.dense.weight", 0, 1, None, 0) for name in ("attention", "mlp"))
    free = [Candidate(one, ones), Candidate(two, ones)]
    assert pair_bare_biases({"mlp.b": ones}, free) == {"mlp.dense.weight": "mlp.b"}
    assert pair_bare_biases({"mlp.b": ones, "mlp.c": ones}, free) == {
        "mlp.dense.weight": "mlp.b",
        "attention.dense.weight": "mlp.c",
    }
    experts = two._replace(num_matrices=8)  # each would add it
    assert pair_bare_biases({"mlp.b": ones}, [Candidate(experts, ones)]) == {}
    assert pair_bare_biases({"mlp.b": ones}, [Candidate(two, 2 * ones)]) == {}


def test_only_a_bias_outside_its_module_is_bare() -> None:
    assert is_bare("attention.dense_bias", "attention.dense")
    assert not is_bare("attention.dense.bias", "attention.dense")
