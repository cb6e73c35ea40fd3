"""Exchanged parameters: the values while open, the very tensors of before afterwards, whatever happens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unwrite.models.apply import parameters_of, replaced_parameters


class BoomError(Exception):
    """Raised by the tests alone."""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(torch.bfloat16).requires_grad_(False)


def test_values_are_in_place_while_open_rounded_to_the_dtype() -> None:
    edited = model()
    value = torch.randn(4, 3, dtype=torch.float64)
    other = edited.get_parameter("1.weight").clone()
    with replaced_parameters(edited, {"0.weight": value}):
        held = edited.get_parameter("0.weight")
        assert torch.equal(held, value.to(torch.bfloat16))
        assert held.dtype == torch.bfloat16
        x = torch.ones(3, dtype=torch.bfloat16)
        assert torch.equal(edited.get_submodule("0")(x), nn.functional.linear(x, held, edited.get_parameter("0.bias")))
        assert torch.equal(edited.get_parameter("1.weight"), other)


@pytest.mark.parametrize("error", [None, BoomError, KeyboardInterrupt])
def test_the_very_same_tensors_come_back(error: type[BaseException] | None) -> None:
    edited = model()
    parameters = dict(edited.named_parameters())
    before = {name: (p.data_ptr(), p.clone()) for name, p in parameters.items()}

    def work() -> None:
        values = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in parameters.items()}
        with replaced_parameters(edited, values):
            assert not edited.get_parameter("0.weight").any()
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    for name, parameter in edited.named_parameters():
        assert parameter is parameters[name]
        assert parameter.data_ptr() == before[name][0]
        assert torch.equal(parameter, before[name][1])


def test_an_unknown_name_changes_nothing() -> None:
    edited = model()
    before = edited.get_parameter("0.weight").clone()
    with (
        pytest.raises(AttributeError),
        replaced_parameters(edited, {"0.weight": torch.zeros(4, 3), "9.weight": torch.zeros(1)}),
    ):
        pass
    assert torch.equal(edited.get_parameter("0.weight"), before)


def test_parameters_of_are_no_copies() -> None:
    edited = model()
    found = parameters_of(edited, ["1.bias"])
    assert list(found) == ["1.bias"]
    assert found["1.bias"].data_ptr() == edited.get_parameter("1.bias").data_ptr()
