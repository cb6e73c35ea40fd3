"""PEFT wraps the targets and nothing else, and what it adds to a parameter is the product of the factors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny import tiny_config
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.adapter_slots import slot_tensors
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.peft import Plan, Target, plan_adapter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft
    from peft.tuners.lora import LoraLayer

Values = dict[str, list[tuple[Tensor, Tensor]]]


def dense(name: str, rank: int = 2, axis: int = 0, bias: str | None = None) -> Target:
    return Target(name, axis, 1, rank, bias)


def plan_of(kind: str, targets: Sequence[Target]) -> Plan:
    return plan_adapter(zoo_config(kind), targets, source="some/model", revision=None)


def random_values(kind: str, targets: Sequence[Target]) -> Values:
    """Return random factors P [32, rank] and Q [rank, k] of each matrix."""
    generator = torch.Generator().manual_seed(0)
    model = zoo_model(kind)
    values: Values = {}
    for target in targets:
        shape = model.get_parameter(target.parameter).shape
        width = shape.numel() // 32 // target.num_matrices
        values[target.parameter] = [
            (torch.randn(32, target.rank, generator=generator), torch.randn(target.rank, width, generator=generator))
            for _ in range(target.num_matrices)
        ]
    return values


def in_place(target: Target, factors: Sequence[tuple[Tensor, Tensor]], shape: torch.Size) -> Tensor:
    """Lay out the products P Q in the way in which the parameter holds its matrices."""
    products = torch.stack([P @ Q for P, Q in factors])  # [G, d, k]
    if len(shape) == 2:
        return products[0] if target.axis == 0 else products[0].T
    return products if target.axis == 1 else products.mT


def loaded(kind: str, plan: Plan, values: Values) -> dict[str, tuple[Any, Tensor]]:
    """Load the adapter; return PEFT's layer and its change of the parameter, by name of the parameter."""
    tensors: dict[str, Tensor] = {}
    for parameter, slots in plan.slots.items():
        for slot in slots:
            tensors |= slot_tensors(slot, values[parameter], None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(zoo_model(kind), peft.LoraConfig(**plan.config))
        result: Any = peft.set_peft_model_state_dict(adapted, tensors)
    assert not result.unexpected_keys
    assert not [key for key in result.missing_keys if ".lora_" in key]
    layers: dict[str, tuple[Any, Tensor]] = {}
    named: Any = adapted.get_base_model().named_modules()
    for name, layer in named:
        if isinstance(layer, LoraLayer):
            wrapper: Any = layer
            parameter = f"{name.replace('.base_layer', '')}.{getattr(layer, 'parameter_name', 'weight')}"
            layers[parameter] = (wrapper, wrapper.get_delta_weight("default"))
    return layers


CASES = {
    "llama": [dense("model.layers.0.self_attn.o_proj.weight"), dense("model.layers.2.mlp.down_proj.weight", 5)],
    "gpt2": [dense("transformer.h.1.mlp.c_proj.weight", 3, 1), dense("transformer.h.1.attn.c_proj.weight", 3, 1)],
    "mixtral": [
        Target("model.layers.1.mlp.experts.down_proj", 1, 8, 3, None),
        dense("model.layers.1.self_attn.o_proj.weight", 2),
    ],
    # transposed, and marked as such; several parameters of one module; ranks that differ
    "gpt_oss": [
        Target("model.layers.0.mlp.experts.down_proj", 2, 8, 3, None),
        Target("model.layers.2.mlp.experts.down_proj", 2, 8, 2, None),
        dense("model.layers.0.mlp.experts.down_proj_bias", 1, 1),
        dense("model.layers.0.self_attn.o_proj.weight", 1),
    ],
    # transposed, and not marked as such
    "llama4_text": [Target("model.layers.1.feed_forward.experts.down_proj", 2, 8, 2, None)],
    # a dense layer and a shared expert that PEFT mistakes for the experts of older versions
    "qwen3_moe": [
        dense("model.layers.0.mlp.down_proj.weight"),
        Target("model.layers.1.mlp.experts.down_proj", 1, 8, 2, None),
    ],
    "qwen2_moe": [dense("model.layers.1.mlp.shared_expert.down_proj.weight")],
}


@pytest.mark.parametrize("kind", CASES)
def test_peft_adds_the_product_of_the_factors_to_each_parameter(kind: str) -> None:
    targets, model = CASES[kind], zoo_model(kind)
    plan, values = plan_of(kind, targets), random_values(kind, targets)
    layers = loaded(kind, plan, values)
    assert set(layers) == {target.parameter for target in targets}
    for target in targets:
        layer, added = layers[target.parameter]
        expected = in_place(target, values[target.parameter], model.get_parameter(target.parameter).shape)
        torch.testing.assert_close(added, expected)
        assert added.any()
        assert layer.scaling["default"] == 1


def test_modules_have_their_own_ranks_and_stacks_the_configured_one() -> None:
    llama = plan_of("llama", CASES["llama"]).config
    assert llama["r"] == llama["lora_alpha"] == 2
    assert llama["rank_pattern"] == llama["alpha_pattern"] == {r"^model\.layers\.2\.mlp\.down_proj": 5}
    plan = plan_of("gpt_oss", CASES["gpt_oss"])
    assert plan.config["r"] == 3
    assert {name: slots[0].rank for name, slots in plan.slots.items()} == {
        "model.layers.0.mlp.experts.down_proj": 3,
        "model.layers.2.mlp.experts.down_proj": 3,
        "model.layers.0.mlp.experts.down_proj_bias": 3,
        "model.layers.0.self_attn.o_proj.weight": 1,
    }


def test_config_names_whole_modules_in_order_and_the_base() -> None:
    actual = plan_adapter(zoo_config("llama"), CASES["llama"][::-1], source="some/model", revision="0123").config
    assert actual["target_modules"] == ["model.layers.0.self_attn.o_proj", "model.layers.2.mlp.down_proj"]
    assert (actual["base_model_name_or_path"], actual["revision"], actual["peft_type"]) == (
        "some/model",
        "0123",
        "LORA",
    )
    assert (actual["lora_bias"], actual["target_parameters"], actual["inference_mode"]) == (False, None, True)
    assert actual == plan_adapter(zoo_config("llama"), CASES["llama"], source="some/model", revision="0123").config


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("starcoder2", dense("model.layers.0.mlp.c_proj.weight", bias="model.layers.0.mlp.c_proj.bias")),
        ("gpt2", dense("transformer.h.0.mlp.c_proj.weight", axis=1, bias="transformer.h.0.mlp.c_proj.bias")),
    ],
)
def test_bias_is_in_the_adapter_of_its_module(kind: str, target: Target) -> None:
    plan = plan_of(kind, [target])
    (slot,) = plan.slots[target.parameter]
    bias = torch.arange(32.0)
    actual = slot_tensors(slot, random_values(kind, [target])[target.parameter], bias)
    assert torch.equal(actual[f"{slot.name}.lora_B.bias"], bias)
    assert plan.config["lora_bias"]


def test_shared_parameter_has_a_slot_per_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def tied(config: Any) -> Any:
        model = build_on_meta(config)
        first, last = (model.get_submodule(f"model.layers.{layer}.mlp.down_proj") for layer in (0, 2))
        last.weight = first.weight
        return model

    monkeypatch.setattr("unwrite.models.peft.build_on_meta", tied)
    name = "model.layers.0.mlp.down_proj.weight"
    slots = plan_of("llama", [dense(name)]).slots[name]
    assert [slot.name for slot in slots] == [f"base_model.model.model.layers.{n}.mlp.down_proj" for n in (0, 2)]


def test_module_used_in_two_places_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(config: Any) -> Any:
        model = build_on_meta(config)
        model.get_submodule("model.layers.2.mlp").down_proj = model.get_submodule("model.layers.0.mlp.down_proj")
        return model

    monkeypatch.setattr("unwrite.models.peft.build_on_meta", shared)
    with pytest.raises(UnwriteError, match=r"cannot adapt model\.layers\.2\.mlp\.down_proj\.weight: it does not find"):
        plan_of("llama", [dense("model.layers.0.mlp.down_proj.weight")])


ATTENTION = dense("model.layers.0.self_attn.o_proj.weight", bias="model.layers.0.self_attn.o_proj.bias")
REFUSED = {
    "a bias and experts": ("gpt_oss", [ATTENTION, CASES["gpt_oss"][0]], r"o_proj\.bias: .*only if no parameter"),
    "a bias of experts as one vector": (
        "gpt_oss",
        [CASES["gpt_oss"][0]._replace(bias="model.layers.0.mlp.experts.down_proj_bias")],
        r"down_proj_bias: it adapts the bias of a linear layer only",
    ),
    "the bias of another module": (
        "starcoder2",
        [dense("model.layers.0.mlp.c_proj.weight", bias="model.norm.bias")],
        "model.norm",
    ),
    "flat experts": (
        "dbrx",
        [Target("transformer.blocks.0.ffn.experts.mlp.w2", 1, 8, 1, None)],
        r"mlp\.w2: .*\[384, 32\]",
    ),
    "refused by PEFT itself": (
        "mamba2",
        [dense("backbone.layers.0.mixer.out_proj.weight")],
        "PEFT cannot adapt this model",
    ),
    "a name changed by PEFT": (
        "laguna",
        [dense("model.layers.1.mlp.shared_experts.down_proj.weight")],
        r"would not read .*shared_experts\.down_proj",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_the_parameter_and_the_remedy(case: str) -> None:
    kind, targets, words = REFUSED[case]
    with pytest.raises(UnwriteError, match=words) as raised:
        plan_of(kind, targets)
    assert "Use the merged model, and set adapter.rank to null." in str(raised.value)


def test_module_whose_name_ends_like_a_target_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(config: Any) -> Any:
        model = build_on_meta(config)
        model.add_module("copy", build_on_meta(tiny_config("llama", num_hidden_layers=1)))
        return model

    monkeypatch.setattr("unwrite.models.peft.build_on_meta", nested)
    name = "model.layers.0.mlp.down_proj.weight"
    with pytest.raises(UnwriteError, match=rf"copy\.{name}: it would be changed along"):
        plan_of("llama", [dense(name)])
