"""A LoRA adapter as PEFT writes and reads it: what it wraps, its configuration, the names and shapes of its tensors.

Nothing of this is guessed. PEFT is put on the model without values, what it wrapped is held against what was asked, and
the names of the tensors are taken there and back through its own loading: a name that it would rename or pass over, as
it does with some experts, is an error here and not an adapter that changes less than it says.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.patching import is_matrix_product
from unwrite.models.tied import names_of_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_PREFIX = "base_model.model."  # before every name in an adapter
_REFUSALS = (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError, KeyError)


class Target(NamedTuple):
    """A parameter to adapt by name: its hidden axis, its matrices, the rank for each, and its bias [d], if that too."""

    parameter: str
    axis: int
    num_matrices: int
    rank: int
    bias: str | None


class Slot(NamedTuple):
    """Where an adapter holds the factors P [d, rank] and Q [rank, k] of each matrix of one parameter."""

    name: str
    """What its tensors' names begin with."""
    rank: int
    """The rank that PEFT expects: what is missing is filled up with zeros."""
    hidden_last: bool
    """Whether P is in PEFT's second matrix, B, and Q in its first; else they are the other way around, transposed."""
    bias: int
    """Length of the bias that PEFT expects; 0 for none."""


class Plan(NamedTuple):
    """An adapter before its values: the content of adapter_config.json, and the slots of each target's parameter.

    A parameter that several modules share (tied) has as many slots.
    """

    config: dict[str, Any]
    slots: dict[str, list[Slot]]


def plan_adapter(config: PreTrainedConfig, targets: Sequence[Target], source: str, revision: str | None) -> Plan:
    """Finds how PEFT adapts some parameters of a model and nothing else, without reading any value.

    Linear layers (and GPT-2's) are wrapped as modules; experts, and what PEFT would mistake for experts, as parameters.

    Args:
        config: The model's.
        targets: What to adapt; no parameter twice.
        source: What the base model is called, for adapter_config.json.
        revision: Its commit, if it is on the hub.

    Raises:
        UnwriteError: PEFT can't adapt a parameter, or not together with the others; it is named.
    """
    skeleton = build_on_meta(config)
    names = names_of_parameters(skeleton)
    wanted = {name: target for target in targets for name in names[target.parameter]}
    modules = {name for name in wanted if _is_weight(skeleton, name)}
    for name in set(wanted) - modules:
        _refuse_shape(name, wanted[name], tuple(skeleton.get_parameter(name).shape))
    settings = _settings(skeleton, wanted, modules)
    layers, keys = _wrap(config, settings)
    if passed_by := modules - set(layers):
        # PEFT takes what is named like the experts of older versions for them; as a parameter it finds it.
        modules -= passed_by
        settings = _settings(skeleton, wanted, modules)
        layers, keys = _wrap(config, settings)
    for name in sorted(set(wanted) ^ set(layers)):
        why = "it doesn't find the module" if name in wanted else "it would be changed along with the others"
        raise _refusal(name, why)
    slots: dict[str, list[Slot]] = {target.parameter: [] for target in targets}
    for name, (path, layer) in layers.items():
        bias = layer.out_features if settings["lora_bias"] else 0
        rank = layer.r["default"]
        slots[wanted[name].parameter].append(Slot(path, rank, _hidden_last(layer, wanted[name].axis), bias))
    _check_names([slot for found in slots.values() for slot in found], keys)
    return Plan(_as_json(settings, source, revision), slots)


def slot_tensors(slot: Slot, factors: Sequence[tuple[Tensor, Tensor]], bias: Tensor | None) -> dict[str, Tensor]:
    """What an adapter holds of one parameter, by name.

    Args:
        slot: Where.
        factors: P [d, rank] and Q [rank, k] of each of the parameter's matrices, in its order.
        bias: What is added to the bias, [d].

    Returns:
        PEFT's A [groups · rank, in], B [out, rank · groups], and the bias if the slot has one; no memory is shared.
    """
    sides = [(Q, P) if slot.hidden_last else (P.T, Q.T) for P, Q in factors]  # [rank, in] and [out, rank]
    padded = [(_pad(A, slot.rank), _pad(B.T, slot.rank).T) for A, B in sides]
    B = torch.stack([B for _, B in padded], dim=-1)
    found = {
        f"{slot.name}.lora_A.weight": torch.cat([A for A, _ in padded]),
        f"{slot.name}.lora_B.weight": B.reshape(len(B), -1),
    }
    if slot.bias:
        found[f"{slot.name}.lora_B.bias"] = torch.zeros(slot.bias) if bias is None else bias.clone()
    return found


def _is_weight(model: nn.Module, name: str) -> bool:
    module, _, leaf = name.rpartition(".")
    return leaf == "weight" and is_matrix_product(model.get_submodule(module))


def _refuse_shape(name: str, target: Target, shape: tuple[int, ...]) -> None:
    """PEFT adapts parameters [a, b] as one matrix, [G, a, b] as G of them."""
    whole = len(shape) == 2 and target.num_matrices == 1
    stacked = len(shape) == 3 and target.axis > 0 and shape[0] == target.num_matrices > 1
    if not whole and not stacked:
        raise _refusal(name, f"it takes a parameter of shape {list(shape)} for other matrices than it holds")


def _settings(model: nn.Module, wanted: Mapping[str, Target], modules: Collection[str]) -> dict[str, Any]:
    """Arguments of LoraConfig; every factor counts as it is, since alpha is always the rank.

    Raises:
        UnwriteError: A bias would have to be adapted where PEFT can't.
    """
    parameters = sorted(set(wanted) - set(modules))
    for name, target in wanted.items():
        if target.bias is None:
            continue
        if name not in modules or target.bias != f"{target.parameter.removesuffix('.weight')}.bias":
            raise _refusal(target.bias, "it adapts the bias of a linear layer only")
        if parameters:
            raise _refusal(target.bias, f"it adapts biases only where it need not adapt parameters ({parameters[0]})")
    ranks = Counter(wanted[name].rank for name in sorted(modules))
    # A pattern that names parameters works, but PEFT warns that it doesn't: they have the rank of the configuration.
    rank = max(wanted[name].rank for name in parameters) if parameters else ranks.most_common(1)[0][0]
    others = {
        f"^{re.escape(_module(name))}": wanted[name].rank for name in sorted(modules) if wanted[name].rank != rank
    }
    owners = [model.get_submodule(_module(name)) for name in modules]
    return {
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(map(_module, modules)),
        "target_parameters": parameters or None,
        "fan_in_fan_out": bool(owners) and not any(isinstance(owner, nn.Linear) for owner in owners),
        "lora_bias": any(target.bias is not None for target in wanted.values()),
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
    }


def _wrap(config: PreTrainedConfig, settings: Mapping[str, Any]) -> tuple[dict[str, tuple[str, Any]], set[str]]:
    """What PEFT wraps: by name of the parameter, what its tensors' names begin with, and PEFT's layer.

    And the names of the adapter's tensors, so far as PEFT would read them again.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it, and it says how it could be faster
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older transformers, and what is refused here in one line
        from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
        from peft.tuners.lora import LoraLayer

        try:
            adapted: Any = get_peft_model(build_on_meta(config), LoraConfig(**settings), low_cpu_mem_usage=True)
            tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            loaded: Any = set_peft_model_state_dict(adapted, tensors, low_cpu_mem_usage=True)
        except _REFUSALS as error:
            raise UnwriteError(f"PEFT can't adapt this model ({reason_of(error)}). {_INSTEAD}") from error
    lost = {key.replace(".default.", ".") for key in loaded.missing_keys}
    layers: dict[str, tuple[str, Any]] = {}
    for path, module in adapted.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            leaf = getattr(module, "parameter_name", "weight")
            layers[f"{path.replace('.base_layer', '')}.{leaf}"] = (f"{_PREFIX}{path}", module)
    return layers, set(tensors) - lost


def _hidden_last(layer: Any, axis: int) -> bool:
    """Whether the hidden axis is that of PEFT's B.

    A stack [G, a, b] is read as [G, out, in] unless its module says that it is transposed.
    """
    base = layer.get_base_layer()
    shape = getattr(base, getattr(layer, "parameter_name", "weight")).shape
    if len(shape) == 3:
        return bool(getattr(base, "is_transposed", False)) == (axis == 2)
    transposed = is_matrix_product(base) and not isinstance(base, nn.Linear)
    return axis == int(transposed)


def _check_names(slots: Sequence[Slot], keys: Collection[str]) -> None:
    expected = {f"{slot.name}.{leaf}" for slot in slots for leaf in ("lora_A.weight", "lora_B.weight")}
    expected |= {f"{slot.name}.lora_B.bias" for slot in slots if slot.bias}
    for name in sorted(expected ^ set(keys)):
        raise UnwriteError(f"PEFT would not read {name} as it was written. {_INSTEAD}")


def _as_json(settings: Mapping[str, Any], source: str, revision: str | None) -> dict[str, Any]:
    from peft import LoraConfig

    config = LoraConfig(**settings, base_model_name_or_path=source, revision=revision)
    values: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call]
    return {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(values.items())}


def _pad(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])


def _module(weight: str) -> str:
    return weight.rpartition(".")[0]


_INSTEAD = "Use the merged model, and set adapter.rank to null."


def _refusal(name: str, why: str) -> UnwriteError:
    return UnwriteError(f"PEFT can't adapt {name}: {why}. {_INSTEAD}")
