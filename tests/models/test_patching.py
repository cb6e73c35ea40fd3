"""Exchanged parameters and changed modules: in force while open, all as before afterwards, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.patching import ModulePatch, is_matrix_product, parameters_of, patched_modules, patched_parameters


class BoomError(Exception):
    """Raised by the tests alone."""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(torch.bfloat16).requires_grad_(False)


def test_values_are_in_place_while_open_rounded_to_the_dtype() -> None:
    edited = model()
    value = torch.randn(4, 3, dtype=torch.float64)
    other = edited.get_parameter("1.weight").clone()
    with patched_parameters(edited, {"0.weight": value}):
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
        with patched_parameters(edited, values):
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
        patched_parameters(edited, {"0.weight": torch.zeros(4, 3), "9.weight": torch.zeros(1)}),
    ):
        pass
    assert torch.equal(edited.get_parameter("0.weight"), before)


def test_parameters_of_are_no_copies() -> None:
    edited = model()
    found = parameters_of(edited, ["1.bias"])
    assert list(found) == ["1.bias"]
    assert found["1.bias"].data_ptr() == edited.get_parameter("1.bias").data_ptr()


def negated(y: Tensor) -> Tensor:
    return -y


def test_a_module_computes_with_its_change_while_open() -> None:
    edited, x = model().float(), torch.randn(3, generator=torch.Generator().manual_seed(1))
    first, second = edited.get_submodule("0"), edited.get_submodule("1")
    plain, scale = edited(x), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    with patched_modules(
        edited, {"0": ModulePatch(lambda x: x * scale.to(x), negated), "1": ModulePatch(None, lambda y: y + 1)}
    ):
        found = edited(x)
    torch.testing.assert_close(found, second(-first(x * scale.float())) + 1)
    assert torch.equal(edited(x), plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_changes_are_computed_in_float32_or_wider_and_rounded_back(dtype: torch.dtype) -> None:
    edited = model().to(dtype)
    came: list[torch.dtype] = []

    def note(y: Tensor) -> Tensor:
        came.append(y.dtype)
        return y

    with patched_modules(edited, {"0": ModulePatch(None, note)}):
        assert edited(torch.ones(2, 3, dtype=dtype)).dtype == dtype
    assert came == [torch.promote_types(dtype, torch.float32)]


class Wrapped(nn.Module):
    """Puts its input out inside of something."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


def test_the_first_item_of_a_tuple_or_list_is_what_counts() -> None:
    x = torch.ones(3)
    wraps: list[Callable[[Tensor], Any]] = [lambda y: (y, y, "state"), lambda y: [y, y, "state"]]
    for wrap in wraps:
        edited = nn.Sequential(Wrapped(wrap))
        with patched_modules(edited, {"0": ModulePatch(None, negated)}):
            first, second, state = found = edited(x)
        assert type(found) is type(wrap(x))
        assert torch.equal(first, -x)
        assert torch.equal(second, x)
        assert state == "state"


@pytest.mark.parametrize("error", [None, BoomError, KeyboardInterrupt])
def test_no_hook_stays(error: type[BaseException] | None) -> None:
    edited = model()

    def work() -> None:
        with patched_modules(edited, {"0": ModulePatch(torch.clone, negated), "1": ModulePatch(None, negated)}):
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in edited.modules())


def test_an_unknown_module_leaves_no_hook() -> None:
    edited = model()
    with (
        pytest.raises(AttributeError),
        patched_modules(edited, {"0": ModulePatch(None, negated), "9": ModulePatch(None, negated)}),
    ):
        pass
    assert not edited.get_submodule("0")._forward_hooks


def test_a_module_that_is_passed_by_is_an_error_and_a_model_that_never_ran_is_none() -> None:
    edited = model()
    changes = {"0": ModulePatch(None, negated), "1": ModulePatch(None, negated)}
    with (
        pytest.raises(UnwriteError, match=r"without calling 1 \(1 such modules\)"),
        patched_modules(edited, changes),
    ):
        edited.get_submodule("0")(torch.ones(3, dtype=torch.bfloat16))
    with patched_modules(edited, changes):
        pass


def test_what_is_a_matrix_product() -> None:
    from transformers.pytorch_utils import Conv1D

    assert is_matrix_product(nn.Linear(2, 3))
    assert is_matrix_product(Conv1D(3, 2))
    assert not is_matrix_product(nn.Sequential(nn.Linear(2, 3)))
    assert not is_matrix_product(nn.Conv1d(2, 3, 1))
