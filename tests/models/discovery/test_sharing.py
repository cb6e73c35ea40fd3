"""Parameters that layers share are one writer if they are shared as a whole, otherwise a reason."""

from __future__ import annotations

from typing import Any

from torch import nn

from unwrite.models.discovery.findings import FoundNorm, FoundWriter
from unwrite.models.discovery.sharing import merge_shared


def layer() -> nn.ModuleDict:
    return nn.ModuleDict({"down": nn.Linear(4, 4), "norm": nn.RMSNorm(4)})


def model(*, share: tuple[str, ...]) -> nn.ModuleList:
    """Return two layers, of which the second uses these parameters of the first."""
    layers = nn.ModuleList([layer(), layer()])
    for name in share:
        module, _, parameter = name.rpartition(".")
        setattr(layers[1].get_submodule(module), parameter, layers[0].get_parameter(name))
    return layers


def writer(index: int, **changes: Any) -> FoundWriter:
    norms = (FoundNorm(f"{index}.norm", f"{index}.norm.weight", 0.0),)
    names = (f"{index}.down", f"{index}.down.weight", 0, 1, f"{index}.down.bias", 0, index)
    return FoundWriter(*names, "mlp", 1.0, norms)._replace(**changes)


WHOLE = ("down.weight", "down.bias", "norm.weight")


def test_separate_parameters_are_separate_writers() -> None:
    merged = merge_shared(model(share=()), [writer(0), writer(1)])
    assert merged.writers == [writer(0), writer(1)]
    assert merged.reasons == []


def test_writer_shared_as_a_whole_is_kept_at_the_first_layer() -> None:
    merged = merge_shared(model(share=WHOLE), [writer(0), writer(1)])
    assert merged.writers == [writer(0, shared_layers=(1,))]
    assert merged.reasons == []


def test_weight_shared_without_its_bias_or_norm_is_left_out() -> None:
    for share in (("down.weight", "down.bias"), ("down.weight", "norm.weight")):
        merged = merge_shared(model(share=share), [writer(0), writer(1)])
        assert merged.writers == []
        assert merged.reasons == [
            "layer 0: 0.down.weight and 1.down.weight are one parameter: editing one would edit the other"
        ]


def test_weight_that_is_used_along_two_axes_is_left_out() -> None:
    assert merge_shared(model(share=WHOLE), [writer(0), writer(1, axis=1)]).writers == []


def test_weight_that_one_layer_uses_twice_is_left_out() -> None:
    assert merge_shared(model(share=WHOLE), [writer(0), writer(1, layer=0)]).writers == []


def test_weight_or_bias_that_something_else_uses_is_left_out_and_named() -> None:
    for shared in ("down.weight", "down.bias"):
        merged = merge_shared(model(share=(shared,)), [writer(0)])
        assert merged.writers == []
        assert merged.reasons == [
            f"layer 0: 0.{shared} and 1.{shared} are one parameter: editing one would edit the other"
        ]
