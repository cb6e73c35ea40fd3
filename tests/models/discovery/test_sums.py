"""What a sum consists of is measured; several streams are mixes of what goes in and what is written, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import D, Layer, Mlp, Streams, recorded_layer
from unwrite.models.discovery.branches import search_branches
from unwrite.models.discovery.probes import UnprovableError, run_to
from unwrite.models.discovery.proof import examine_layer
from unwrite.models.discovery.sums import skip_contribution, spread, unexplained_at, unexplained_share, unmixed_share

pytestmark = pytest.mark.usefixtures("no_grad")


def test_skip_contribution_is_the_input_times_its_scale() -> None:
    recorded = recorded_layer(Layer(Mlp(), lambda stream, y: 0.5 * stream + y))
    stream = recorded.layer.stream().reshape(-1, D)
    assert skip_contribution(recorded, None, ["mlp"]) == pytest.approx(0.5 * stream, abs=1e-5)
    rest = run_to(recorded.layer, None) - 0.5 * stream
    ones = torch.ones(len(rest), dtype=torch.float64)
    assert unexplained_share(recorded, rest, ["mlp.down"], {"mlp.down": ones}) < 1e-12
    assert unexplained_share(recorded, rest, [], {}) == 1


def test_a_norm_of_the_stream_itself_is_refused() -> None:
    recorded = recorded_layer(Layer(Mlp()))
    with pytest.raises(UnprovableError, match=r"^norm \(RMSNorm\) normalizes or scales the stream itself$"):
        skip_contribution(recorded, "norm", [])


def test_a_part_that_is_known_is_explained() -> None:
    recorded = recorded_layer(Layer(Mlp(), lambda stream, y: stream + y + 0.5))
    ones = {"mlp.down": torch.ones(14, dtype=torch.float64)}
    assert unexplained_at(recorded, None, ["mlp.down"], ones) > 0.01
    also = torch.full((14, D), 0.5, dtype=torch.float64)
    assert unexplained_at(recorded, None, ["mlp.down"], ones, also=also) < 1e-9


def mixed(streams: Tensor, m: Tensor, y: Tensor) -> Tensor:
    return streams + m * y


def kept(streams: Tensor, m: Tensor, y: Tensor) -> Tensor:
    """Several streams without a mix of them."""
    return streams * 0 + m * y


def scaled(streams: Tensor, m: Tensor, y: Tensor) -> Tensor:
    return streams + m * y * torch.linspace(1, 2, D)


def with_constant(streams: Tensor, m: Tensor, y: Tensor) -> Tensor:
    return streams + m * y + 1e-3 * torch.linspace(-1, 2, D)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("streams", [2, 4])
@pytest.mark.parametrize("add", [mixed, kept])
def test_streams_are_mixes_of_streams_and_of_what_is_written(
    add: Callable[[Tensor, Tensor, Tensor], Tensor], streams: int, flat: bool
) -> None:
    shape = (streams * D,) if flat else (streams, D)
    recorded = recorded_layer(Streams(Mlp(), streams, add, flat=flat), shape, streams)
    base = run_to(recorded.layer, None)
    assert base.shape == (14 * streams, D)
    assert unmixed_share(recorded, base, ["mlp.down"]) < 1e-12
    assert unmixed_share(recorded, base, []) > 0.01  # control: what is written is left out
    examination = examine_layer(recorded, None)
    assert examination.reasons == []
    assert [branch.module for branch in examination.branches] == ["mlp.down"]


@pytest.mark.parametrize("add", [scaled, with_constant])
def test_control_streams_that_something_else_writes_are_refused(
    add: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> None:
    recorded = recorded_layer(Streams(Mlp(), 2, add), (2, D), 2)
    assert unmixed_share(recorded, run_to(recorded.layer, None), ["mlp.down"]) > 1e-5
    examination = search_branches(recorded)
    assert "is not explained by" in examination.reasons[0]


def test_a_module_that_writes_every_stream_differently_is_named() -> None:
    class Every(Mlp):
        """Write a vector for each of two streams."""

        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Linear(D, 2 * D)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.both(super().forward(x)).tanh()
            return y.reshape(*x.shape[:2], 2, D)

    recorded = recorded_layer(Streams(Every(), 2, lambda streams, m, y: streams + m * y[..., 0, :, :]), (2, D), 2)
    assert recorded.calls["mlp"].output.shape == (2 * 14, D)
    assert unmixed_share(recorded, run_to(recorded.layer, None), ["mlp"]) < 1e-12
    reason = "mlp (Every) cannot be edited exactly: none of its parameters writes along one axis"
    assert search_branches(recorded).reasons == [reason]


def test_an_output_is_repeated_for_each_stream_of_its_token() -> None:
    output = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert spread(output, 4).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert torch.equal(spread(output, 2), output)
