"""Plan a LoRA adapter with PEFT itself: the modules it wraps, its configuration, and the names of its tensors.

None of this is guessed. PEFT wraps the model without values, what it wrapped is compared with the targets, and the
names of the tensors make a round trip through its own loading. A name that PEFT would change or skip, as it does for
some experts, is therefore an error here: the adapter would change less than it claims.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.adapter_slots import Slot
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.patching import is_matrix_product
from unwrite.models.tied import names_of_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_PREFIX = "base_model.model."  # before every name in an adapter
_PEFT_ERRORS = (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError, KeyError)
_INSTEAD = "Use the merged model, and set adapter.rank to null."


class Target(NamedTuple):
    """A parameter to adapt."""

    parameter: str
    axis: int
    """The hidden axis of the parameter."""
    num_matrices: int
    rank: int
    """The rank of the change of each matrix."""
    bias: str | None
    """The bias [d] to adapt as well, if any."""


class Plan(NamedTuple):
    """An adapter before its values."""

    config: dict[str, Any]
    """The content of adapter_config.json."""
    slots: dict[str, list[Slot]]
    """The slots of each target's parameter: one per module that shares it."""


class _Wrapped(NamedTuple):
    """A model wrapped by PEFT."""

    layers: dict[str, tuple[str, Any]]
    """For each wrapped parameter, the prefix of its tensors' names and PEFT's layer."""
    keys: set[str]
    """Names of the adapter's tensors that PEFT would read back."""


def plan_adapter(config: PreTrainedConfig, targets: Sequence[Target], source: str, revision: str | None) -> Plan:
    """Plan an adapter that changes these parameters of a model and nothing else, without reading any value.

    Linear layers (and those of GPT-2) are wrapped as modules; experts, and what PEFT would mistake for experts, as
    parameters.

    Args:
        config: the configuration of the model.
        targets: the parameters to adapt, each once.
        source: name of the base model, for adapter_config.json.
        revision: its commit, if it is on the hub.

    Raises:
        UnwriteError: PEFT cannot adapt a parameter by itself or together with the others; the message names it.
    """
    skeleton = build_on_meta(config)
    names = names_of_parameters(skeleton)
    by_name = {name: target for target in targets for name in names[target.parameter]}
    settings, wrapped = _wrap_targets(config, skeleton, by_name)
    for name in sorted(set(by_name) ^ set(wrapped.layers)):
        why = "it does not find the module" if name in by_name else "it would be changed along with the others"
        raise _refusal(name, why)
    slots: dict[str, list[Slot]] = {target.parameter: [] for target in targets}
    for name, (prefix, layer) in wrapped.layers.items():
        bias = layer.out_features if settings["lora_bias"] else 0
        hidden_last = _is_hidden_last(layer, by_name[name].axis)
        slots[by_name[name].parameter].append(Slot(prefix, layer.r["default"], hidden_last, bias))
    _refuse_other_names([slot for group in slots.values() for slot in group], wrapped.keys)
    return Plan(_adapter_config(settings, source, revision), slots)


def _wrap_targets(
    config: PreTrainedConfig, skeleton: nn.Module, by_name: Mapping[str, Target]
) -> tuple[dict[str, Any], _Wrapped]:
    """Wrap the targets as modules where PEFT finds them as such, otherwise as parameters; return the settings too."""
    modules = {name for name in by_name if _is_weight(skeleton, name)}
    for name in sorted(set(by_name) - modules):
        _refuse_shape(name, by_name[name], tuple(skeleton.get_parameter(name).shape))
    settings = _lora_settings(skeleton, by_name, modules)
    wrapped = _wrap(config, settings)
    if missed := modules - set(wrapped.layers):
        # PEFT mistakes modules named like the experts of older versions for those; as parameters it finds them.
        settings = _lora_settings(skeleton, by_name, modules - missed)
        wrapped = _wrap(config, settings)
    return settings, wrapped


def _is_weight(model: nn.Module, name: str) -> bool:
    """Return whether a parameter is the weight of a module that PEFT can wrap."""
    module, _, leaf = name.rpartition(".")
    return leaf == "weight" and is_matrix_product(model.get_submodule(module))


def _refuse_shape(name: str, target: Target, shape: tuple[int, ...]) -> None:
    """Refuse a vector, and what PEFT splits into other matrices: it adapts [a, b] as one matrix, [G, a, b] as G."""
    if len(shape) == 1:
        raise _refusal(name, "it adapts the bias of a linear layer only")
    whole = len(shape) == 2 and target.num_matrices == 1
    stacked = len(shape) == 3 and target.axis > 0 and shape[0] == target.num_matrices > 1
    if not whole and not stacked:
        raise _refusal(name, f"it splits shape {list(shape)} into matrices other than the parameter's own")


def _lora_settings(model: nn.Module, by_name: Mapping[str, Target], modules: Collection[str]) -> dict[str, Any]:
    """Return the arguments of LoraConfig; alpha always equals the rank, so no factor is scaled.

    Raises:
        UnwriteError: a bias would have to be adapted where PEFT cannot.
    """
    parameters = sorted(set(by_name) - set(modules))
    _refuse_biases(by_name, modules, parameters)
    ranks = Counter(by_name[name].rank for name in sorted(modules))
    # Parameters get the rank of the configuration: a pattern that names them works, but PEFT warns that it does not.
    rank = max(by_name[name].rank for name in parameters) if parameters else ranks.most_common(1)[0][0]
    other_ranks = {
        f"^{re.escape(_module(name))}": by_name[name].rank for name in sorted(modules) if by_name[name].rank != rank
    }
    owners = [model.get_submodule(_module(name)) for name in modules]
    return {
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": other_ranks,
        "alpha_pattern": other_ranks,
        "target_modules": sorted(map(_module, modules)),
        "target_parameters": parameters or None,
        "fan_in_fan_out": bool(owners) and not any(isinstance(owner, nn.Linear) for owner in owners),
        "lora_bias": any(target.bias is not None for target in by_name.values()),
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
    }


def _refuse_biases(by_name: Mapping[str, Target], modules: Collection[str], parameters: Sequence[str]) -> None:
    for name, target in by_name.items():
        if target.bias is None:
            continue
        if name not in modules or target.bias != f"{target.parameter.removesuffix('.weight')}.bias":
            raise _refusal(target.bias, "it adapts the bias of a linear layer only")
        if parameters:
            raise _refusal(target.bias, f"it adapts biases only if no parameter ({parameters[0]}) is adapted by name")


def _wrap(config: PreTrainedConfig, settings: Mapping[str, Any]) -> _Wrapped:
    """Wrap a model without values with PEFT, and save and load the names of the adapter's tensors."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it, and it would suggest faster kernels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about older transformers, and about what is refused in one line below
        from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
        from peft.tuners.lora import LoraLayer

        try:
            adapted: Any = get_peft_model(build_on_meta(config), LoraConfig(**settings), low_cpu_mem_usage=True)
            tensors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            loaded: Any = set_peft_model_state_dict(adapted, tensors, low_cpu_mem_usage=True)
        except _PEFT_ERRORS as error:
            raise UnwriteError(f"PEFT cannot adapt this model ({reason_of(error)}). {_INSTEAD}") from error
    lost = {key.replace(".default.", ".") for key in loaded.missing_keys}
    layers: dict[str, tuple[str, Any]] = {}
    for path, module in adapted.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            leaf = getattr(module, "parameter_name", "weight")
            layers[f"{path.replace('.base_layer', '')}.{leaf}"] = (f"{_PREFIX}{path}", module)
    return _Wrapped(layers, set(tensors) - lost)


def _is_hidden_last(layer: Any, axis: int) -> bool:
    """Return whether the hidden axis is that of PEFT's B.

    PEFT reads a stack [G, a, b] as [G, out, in] unless its module says that it is transposed.
    """
    base = layer.get_base_layer()
    shape = getattr(base, getattr(layer, "parameter_name", "weight")).shape
    if len(shape) == 3:
        return bool(getattr(base, "is_transposed", False)) == (axis == 2)
    transposed = is_matrix_product(base) and not isinstance(base, nn.Linear)
    return axis == int(transposed)


def _refuse_other_names(slots: Sequence[Slot], keys: Collection[str]) -> None:
    expected = {f"{slot.name}.{leaf}" for slot in slots for leaf in ("lora_A.weight", "lora_B.weight")}
    expected |= {f"{slot.name}.lora_B.bias" for slot in slots if slot.bias}
    for name in sorted(expected ^ set(keys)):
        raise UnwriteError(f"PEFT would not read {name} as it was written. {_INSTEAD}")


def _adapter_config(settings: Mapping[str, Any], source: str, revision: str | None) -> dict[str, Any]:
    from peft import LoraConfig

    config = LoraConfig(**settings, base_model_name_or_path=source, revision=revision)
    values: dict[str, Any] = config.to_dict()  # type: ignore[no-untyped-call]
    return {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(values.items())}


def _module(weight: str) -> str:
    return weight.rpartition(".")[0]


def _refusal(name: str, why: str) -> UnwriteError:
    return UnwriteError(f"PEFT cannot adapt {name}: {why}. {_INSTEAD}")
