"""Patches apply while the context is open; afterwards everything is as before, whatever happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import random_direction, tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.patching import (
    ModulePatch,
    added_to_stream,
    is_matrix_product,
    mapped_stream,
    patched_modules,
    patched_parameters,
)
from unwrite.models.placement import parameters_of
from unwrite.models.residuals import extract_residuals


class BoomError(Exception):
    """An error that only these tests raise."""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(torch.bfloat16).requires_grad_(False)


def test_values_are_in_place_while_open_and_rounded_to_the_dtype() -> None:
    edited = model()
    value = torch.randn(4, 3, dtype=torch.float64)
    other = edited.get_parameter("1.weight").clone()
    with patched_parameters(edited, {"0.weight": value}):
        current = edited.get_parameter("0.weight")
        assert torch.equal(current, value.to(torch.bfloat16))
        assert current.dtype == torch.bfloat16
        x = torch.ones(3, dtype=torch.bfloat16)
        assert torch.equal(
            edited.get_submodule("0")(x), nn.functional.linear(x, current, edited.get_parameter("0.bias"))
        )
        assert torch.equal(edited.get_parameter("1.weight"), other)


@pytest.mark.parametrize("error", [None, BoomError, KeyboardInterrupt])
def test_same_tensors_are_restored(error: type[BaseException] | None) -> None:
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


def test_unknown_parameter_changes_nothing() -> None:
    edited = model()
    before = edited.get_parameter("0.weight").clone()
    with (
        pytest.raises(AttributeError),
        patched_parameters(edited, {"0.weight": torch.zeros(4, 3), "9.weight": torch.zeros(1)}),
    ):
        pass
    assert torch.equal(edited.get_parameter("0.weight"), before)


def test_parameters_are_not_copied() -> None:
    edited = model()
    actual = parameters_of(edited, ["1.bias"])
    assert list(actual) == ["1.bias"]
    assert actual["1.bias"].data_ptr() == edited.get_parameter("1.bias").data_ptr()


def negated(y: Tensor) -> Tensor:
    return -y


def test_module_computes_with_its_patch_while_open() -> None:
    edited, x = model().float(), torch.randn(3, generator=torch.Generator().manual_seed(1))
    first, second = edited.get_submodule("0"), edited.get_submodule("1")
    plain, scale = edited(x), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    with patched_modules(
        edited, {"0": ModulePatch(lambda x: x * scale.to(x), negated), "1": ModulePatch(None, lambda y: y + 1)}
    ):
        actual = edited(x)
    torch.testing.assert_close(actual, second(-first(x * scale.float())) + 1)
    assert torch.equal(edited(x), plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_patches_are_computed_in_float32_or_wider_and_rounded_back(dtype: torch.dtype) -> None:
    edited = model().to(dtype)
    seen: list[torch.dtype] = []

    def record(y: Tensor) -> Tensor:
        seen.append(y.dtype)
        return y

    with patched_modules(edited, {"0": ModulePatch(None, record)}):
        assert edited(torch.ones(2, 3, dtype=dtype)).dtype == dtype
    assert seen == [torch.promote_types(dtype, torch.float32)]


class Wrapped(nn.Module):
    """A module that returns its input inside a container."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


def test_first_item_of_a_tuple_or_list_is_patched() -> None:
    x = torch.ones(3)
    wraps: list[Callable[[Tensor], Any]] = [lambda y: (y, y, "state"), lambda y: [y, y, "state"]]
    for wrap in wraps:
        edited = nn.Sequential(Wrapped(wrap))
        with patched_modules(edited, {"0": ModulePatch(None, negated)}):
            first, second, state = actual = edited(x)
        assert type(actual) is type(wrap(x))
        assert torch.equal(first, -x)
        assert torch.equal(second, x)
        assert state == "state"


@pytest.mark.parametrize("error", [None, BoomError, KeyboardInterrupt])
def test_module_hooks_are_removed(error: type[BaseException] | None) -> None:
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


def test_unknown_module_leaves_no_hook() -> None:
    edited = model()
    with (
        pytest.raises(AttributeError),
        patched_modules(edited, {"0": ModulePatch(None, negated), "9": ModulePatch(None, negated)}),
    ):
        pass
    assert not edited.get_submodule("0")._forward_hooks


def test_skipped_module_is_an_error_but_a_model_that_never_ran_is_not() -> None:
    edited = model()
    changes = {"0": ModulePatch(None, negated), "1": ModulePatch(None, negated)}
    with (
        pytest.raises(UnwriteError, match=r"without calling 1 \(1 such modules\)"),
        patched_modules(edited, changes),
    ):
        edited.get_submodule("0")(torch.ones(3, dtype=torch.bfloat16))
    with patched_modules(edited, changes):
        pass


def test_linear_layers_are_matrix_products() -> None:
    from transformers.pytorch_utils import Conv1D

    assert is_matrix_product(nn.Linear(2, 3))
    assert is_matrix_product(Conv1D(3, 2))
    assert not is_matrix_product(nn.Sequential(nn.Linear(2, 3)))
    assert not is_matrix_product(nn.Conv1d(2, 3, 1))


class Toy(nn.Module):
    """A linear model with six identity layers, whose output is the stream itself."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Wrapped(wrap) for _ in range(6)])

    def forward(self, stream: Tensor) -> Tensor:
        for layer in self.layers:
            output = layer(stream)
            stream = output if isinstance(output, Tensor) else output[0]
        return stream


WRAPS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, "state"),
    "list": lambda y: [y, "state"],
}
STREAM = torch.arange(24.0).reshape(2, 3, 4)  # small integers: the sums are exact
DIRECTION = torch.tensor([1.0, 0.0, -2.0, 4.0])


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("layer", [0, 3, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_stream_moves_by_exactly_the_scaled_direction(
    wrap: Callable[[Tensor], Any], layer: int, dtype: torch.dtype
) -> None:
    toy, stream = Toy(wrap), STREAM.to(dtype)
    with added_to_stream(toy, DIRECTION, layer, 0.5):
        moved = toy(stream)
    assert moved.dtype == dtype
    assert torch.equal(moved - stream, (0.5 * DIRECTION).to(dtype).expand_as(stream))
    assert torch.equal(toy(stream), stream)


def test_shift_is_at_the_output_of_its_layer() -> None:
    toy, inputs = Toy(WRAPS["tuple"]), dict[int, Tensor]()
    for number, layer in enumerate(toy.layers):
        layer.register_forward_pre_hook(lambda _m, args, number=number: inputs.update({number: args[0]}))
    with added_to_stream(toy, DIRECTION, 3, 2.0):
        toy(STREAM)
    for number, stream in inputs.items():
        assert torch.equal(stream, STREAM + 2 * DIRECTION * (number > 3))


def test_shifts_of_several_layers_add_up() -> None:
    toy = Toy(WRAPS["tensor"])
    with added_to_stream(toy, DIRECTION, 1, 1.0), added_to_stream(toy, DIRECTION, 4, -3.0):
        assert torch.equal(toy(STREAM), STREAM - 2 * DIRECTION)


@pytest.mark.parametrize("error", [BoomError, KeyboardInterrupt])
def test_shift_is_removed_after_an_exception(error: type[BaseException]) -> None:
    toy = Toy(WRAPS["tensor"])
    with pytest.raises(error), added_to_stream(toy, DIRECTION, 2, 1.0):
        raise error
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in toy.modules())


@pytest.mark.parametrize("layer", [9, 6, -1])
def test_wrong_layer_number_is_an_error(layer: int) -> None:
    with (
        pytest.raises(ValueError, match=f"layer must be between 0 and 5, got {layer}"),
        added_to_stream(Toy(WRAPS["tensor"]), DIRECTION, layer, 1.0),
    ):
        pass


def test_direction_must_be_a_vector() -> None:
    with (
        pytest.raises(ValueError, match=r"direction must have shape \[d\], got \[1, 4\]"),
        added_to_stream(Toy(WRAPS["tensor"]), DIRECTION[None], 0, 1.0),
    ):
        pass


def test_shift_is_what_residuals_record_next() -> None:
    model = tiny_model(tiny_config("llama"))
    prompts, direction = [[3, 4, 5], [6, 7]], torch.randn(32, generator=torch.Generator().manual_seed(1))
    plain = extract_residuals(model, prompts)
    with added_to_stream(model, direction, 1, 3.0):
        shifted = extract_residuals(model, prompts)
    torch.testing.assert_close(shifted[:, :, 2], plain[:, :, 2] + 3 * direction)
    assert torch.equal(shifted[:, :, :2], plain[:, :, :2])
    assert not torch.allclose(shifted[:, :, 3], plain[:, :, 3] + 3 * direction)  # the next layer reads it


@pytest.mark.parametrize("wrap", WRAPS, ids=str)
def test_a_map_is_applied_to_the_input_and_every_output_of_the_layers(wrap: str) -> None:
    toy, seen = Toy(WRAPS[wrap]), []

    def double(stream: Tensor) -> Tensor:
        seen.append(stream.clone())
        return 2 * stream

    with mapped_stream(toy, double):
        mapped = toy(STREAM)
    layers = len(toy.layers)
    assert len(seen) == layers + 1
    assert torch.equal(mapped, 2 ** (layers + 1) * STREAM)  # the layers pass the stream on as it is
    assert torch.equal(toy(STREAM), STREAM)


def test_nothing_is_left_along_a_direction_that_is_projected_out_of_a_real_model() -> None:
    model = tiny_model(tiny_config("llama"))
    v = random_direction(32).float()
    with mapped_stream(model, lambda x: x - (x @ v).unsqueeze(-1) * v):
        ablated = extract_residuals(model, [[5, 6, 7]])
    assert float((ablated @ v).abs().max()) < 1e-5
    assert float((extract_residuals(model, [[5, 6, 7]]) @ v).abs().max()) > 0.1


def test_several_streams_are_refused_rather_than_changed() -> None:
    toy = Toy(WRAPS["tensor"])
    several = STREAM.unsqueeze(2).expand(-1, -1, 4, -1)
    with pytest.raises(UnwriteError, match="keeps several streams"), mapped_stream(toy, lambda x: x):
        toy(several)
    with pytest.raises(UnwriteError, match="keeps several streams"), added_to_stream(toy, DIRECTION, 2, 1.0):
        toy(several)
