"""The proof of branches holds for the right ones and fails when one is missing, wrong or incomplete."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from tests.support.synthetic_layers import D, Layer, Mlp, Scale, recorded_layer
from unwrite.models.discovery.branches import Branch
from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.parameters import Weight
from unwrite.models.discovery.probes import UnprovableError
from unwrite.models.discovery.proof import examine_layer, prove_branches

pytestmark = pytest.mark.usefixtures("no_grad")


class Two(nn.Module):
    """Two linear layers that add."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x.relu()) + self.b(x.sigmoid())
        return y


def linear(name: str, bias: bool = True, axis: int = 0) -> Branch:
    return Branch(name, weights=(Weight(f"{name}.weight", axis, 1, f"{name}.bias" if bias else None, 0),))


def test_the_right_branches_are_proven() -> None:
    recorded = recorded_layer(Layer(Two()))
    assert prove_branches(recorded, [linear("mlp.a"), linear("mlp.b")]) < 1e-5


@pytest.mark.parametrize(
    ("branches", "reason"),
    [
        ([linear("mlp.a")], r"% of the output is not explained by mlp\.a"),
        ([], "is not explained by any module"),
        ([linear("mlp.a"), linear("mlp.b", bias=False)], "is still written along the direction"),
        ([linear("mlp.a"), linear("mlp.b", axis=1)], "is still written along the direction"),
        ([linear("mlp.a"), linear("mlp.c")], r"mlp\.c does not run exactly once"),
        ([linear("mlp.a"), linear("norm", bias=False)], "norm does not add to the stream"),
    ],
)
def test_control_wrong_branches_are_not_proven(branches: list[Branch], reason: str) -> None:
    with pytest.raises(UnprovableError, match=reason):
        prove_branches(recorded_layer(Layer(Two())), branches)


def test_a_scale_after_the_writer_is_compensated_for() -> None:
    recorded = recorded_layer(Layer(nn.Sequential(Mlp(), Scale())))
    examination = examine_layer(recorded, None)
    assert examination.reasons == []
    (branch,) = examination.branches
    assert branch.norm == FoundNorm("mlp.1", "mlp.1.gamma", 0.0)
    assert prove_branches(recorded, [branch]) < 1e-5
    other = branch._replace(norm=FoundNorm("mlp.1", None, 1.0))  # control: v itself does not vanish after γ
    with pytest.raises(UnprovableError, match="is still written along the direction"):
        prove_branches(recorded, [other])


def test_branches_of_a_similar_layer_are_used_only_if_they_are_proven() -> None:
    right, wrong = (linear("mlp.a"), linear("mlp.b")), (linear("mlp.a"), linear("mlp.b", axis=1))
    for like in (None, right, wrong):
        examination = examine_layer(recorded_layer(Layer(Two())), like)
        assert examination.branches == right
        assert examination.reasons == []
        assert examination.unexplained < 1e-5


def test_branches_that_are_found_but_not_proven_are_replaced_by_a_reason() -> None:
    class Hidden(Mlp):
        """A layer that also writes an amount too small for the sum to show."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e-7

    examination = examine_layer(recorded_layer(Layer(Hidden())), None)
    assert examination.branches == ()
    assert len(examination.reasons) == 1
    assert "is still written along the direction" in examination.reasons[0]
