"""Each probe has its effect while it is open, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.support.synthetic_layers import CalledTwice, D, Layer, Mlp, recorded_layer
from unwrite.models.discovery.probes import (
    SHIFT,
    RecordedLayer,
    first_tensor,
    multipliers_into,
    outputs_fixed,
    projected,
    rerun,
    run_to,
    shift_multipliers,
    shifted,
)

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def recorded() -> RecordedLayer:
    return recorded_layer(Layer(Mlp()))


def test_modules_of_the_streams_width_that_run_once_are_recorded(recorded: RecordedLayer) -> None:
    assert set(recorded.calls) == {"norm", "mlp", "mlp.down"}  # mlp.up is wider
    assert {call.output.shape for call in recorded.calls.values()} == {(14, D)}
    assert set(recorded_layer(Layer(CalledTwice())).calls) == {"norm", "mlp"}


def test_a_recorded_call_can_be_run_again(recorded: RecordedLayer) -> None:
    for name, call in recorded.calls.items():
        assert torch.equal(rerun(recorded.module(name), call), call.output)


def test_a_recorded_layer_names_its_modules(recorded: RecordedLayer) -> None:
    assert recorded.label("mlp.down") == "mlp.down (Linear)"
    assert recorded.has_parameters("mlp")
    recorded.layer.module.add_module("activation", nn.ReLU())
    assert not recorded.has_parameters("activation")


def test_run_to_returns_what_reaches_a_sink(recorded: RecordedLayer) -> None:
    inside = recorded.calls["mlp"]
    assert torch.equal(run_to(recorded.layer, "mlp"), recorded.calls["norm"].output)
    stream = recorded.layer.stream().reshape(-1, D)
    assert torch.equal(run_to(recorded.layer, None), stream + inside.output)


def test_a_module_that_adds_to_the_stream_has_a_multiplier_and_one_before_a_norm_has_none(
    recorded: RecordedLayer,
) -> None:
    layer, v = recorded.layer, recorded.direction
    base = run_to(layer, None)
    m = multipliers_into(layer, "mlp.down", None, base, v)
    assert m is not None
    assert m == pytest.approx(torch.ones(14), abs=1e-5)
    assert multipliers_into(layer, "norm", None, base, v) is None
    assert torch.equal(run_to(layer, None), base)  # the shift is gone


def test_shift_has_multipliers_only_if_it_keeps_its_direction() -> None:
    v = torch.eye(3, dtype=torch.float64)[0]
    twice = torch.full((4,), 2.0, dtype=torch.float64)
    multipliers = shift_multipliers(2 * SHIFT * v.expand(4, 3), v)
    assert multipliers is not None
    assert torch.equal(multipliers, twice)
    assert shift_multipliers(SHIFT * torch.ones(4, 3, dtype=torch.float64), v) is None
    assert shift_multipliers(torch.ones(4, 3, dtype=torch.float64), v) is None


def test_module_with_a_fixed_output_ignores_the_stream(recorded: RecordedLayer) -> None:
    other = recorded.layer.with_stream(recorded.layer.stream() + 1)
    with outputs_fixed(recorded, ["mlp"]):
        difference = run_to(other, None) - run_to(recorded.layer, None)
    assert difference == pytest.approx(torch.ones(14, D), abs=1e-12)
    free = run_to(other, None) - run_to(recorded.layer, None)
    assert float((free - 1).abs().max()) > 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_projection_clears_one_axis_and_ends(axis: int) -> None:
    parameter = nn.Parameter(torch.randn(D, D, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    original, v = parameter.data, nn.functional.normalize(torch.arange(1.0, D + 1, dtype=torch.float64), dim=0)

    def along(place: int) -> float:
        return float(torch.tensordot(v, parameter.data, dims=([0], [place])).abs().max())

    with projected(parameter, axis, v):
        assert along(axis) < 1e-12
        assert all(along(other) > 1e-3 for other in {0, 1, 2} - {axis})
    assert parameter.data_ptr() == original.data_ptr()


def test_modules_that_return_tuples_are_shifted_in_their_first_item(recorded: RecordedLayer) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return x, "cache"

    layer = nn.Module()
    layer.pair = Pair()
    call = recorded.layer._replace(module=layer)
    with shifted(call, "pair", recorded.direction):
        shifted_output, rest = layer.pair(torch.zeros(2, D, dtype=torch.float64))
    assert torch.equal(shifted_output, SHIFT * recorded.direction.expand(2, D))
    assert rest == "cache"


def test_an_output_that_is_not_a_tensor_is_empty() -> None:
    x = torch.ones(2)
    assert first_tensor((x, None)) is x
    assert first_tensor([x]) is x
    assert [first_tensor(output).numel() for output in (None, (), ("cache", x), {"x": x})] == [0, 0, 0, 0]
