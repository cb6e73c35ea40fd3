"""Linear layers with 4- or 8-bit weights (bitsandbytes), for finding directions and recipes in less memory.

The release is edited in full precision; only the measurements before it are quantized. In both formats the
result for one prompt does not depend on the rest of its batch, beyond rounding.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.terms import Quantization

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel

_PACKAGES = ("bitsandbytes", "accelerate")  # transformers needs the second to use the first
_DEVICES = ("cpu", "cuda")
_BLOCK = 64  # weights per scale in NF4
_SCALES = 256  # scales per scale of these
_INT8 = 127.0


def load_quantized(
    load: Callable[[Mapping[str, Any]], PreTrainedModel],
    skeleton: PreTrainedModel,
    quantization: Quantization,
    dtype: torch.dtype,
    device: torch.device,
) -> PreTrainedModel:
    """Load a model and quantize its linear layers while loading.

    `nf4` is NF4 with double quantization (Dettmers et al. 2023, QLoRA), computing in `dtype`. `int8` is the row-wise
    absmax of LLM.int8 (Dettmers et al. 2022). Not quantized are the output head and what is tied to it, embeddings, and
    everything that is not a plain linear layer (fused experts, norms, convolutions). Two more kinds of layers are left
    as they are: those whose weight the model's code reads directly, such as routers, which would take packed integers
    for numbers; and with `nf4` those whose input width is not a multiple of 64, which bitsandbytes 0.50 reads wrongly
    on a CPU with AVX-512.

    Args:
        load: callback that loads the model in evaluation mode, given further arguments of `from_pretrained`.
        skeleton: the model without values.
        quantization: `nf4` or `int8`.
        dtype: the dtype to compute in.
        device: the device of the model.

    Raises:
        UnwriteError: bitsandbytes is not installed or does not support the device, or no layer can be quantized.
    """
    _refuse_missing_packages(quantization)
    _refuse_device(quantization, device)
    _import_bitsandbytes()
    placement = {"device_map": {"": str(device)}}
    model = load({"quantization_config": _quantization_config(skeleton, quantization, dtype), **placement})
    _make_deterministic(model)
    if skipped := read_elsewhere(model):
        del model  # so that only one is in memory at a time
        model = load({"quantization_config": _quantization_config(skeleton, quantization, dtype, skipped), **placement})
        _make_deterministic(model)
    return model


def packed_size(skeleton: PreTrainedModel, quantization: Quantization) -> tuple[int, int]:
    """Return how many numbers of a model `load_quantized` packs, and the bytes that they take then, with their scales.

    Layers that are left as they are because the model's code reads them are counted as packed: that is known only once
    the model runs.

    Args:
        skeleton: the model without values.
        quantization: `nf4` or `int8`.
    """
    from transformers.quantizers.base import get_keys_to_not_convert

    count = size = 0
    for name, width in _input_widths(skeleton, get_keys_to_not_convert(skeleton)).items():
        if quantization == "nf4" and width % _BLOCK:
            continue
        numbers = skeleton.get_parameter(f"{name}.weight").numel()
        if quantization == "nf4":
            scales = math.ceil(numbers / _BLOCK)  # a byte each, and a number of four bytes for so many of them
            size += math.ceil(numbers / 2) + scales + 4 * math.ceil(scales / _SCALES)
        else:
            size += numbers + 4 * (numbers // width)
        count += numbers
    return count, size


def is_quantized(module: nn.Module) -> bool:
    """Return whether a module is a linear layer whose weight is packed integers, which cannot be edited."""
    return isinstance(module, nn.Linear) and not module._parameters["weight"].is_floating_point()  # type: ignore[union-attr]


def dequantized(module: nn.Module) -> Tensor:
    """Return the numbers that a quantized layer's weight represents, [d, k], in the original dtype (int8: float32)."""
    weight: Any = module._parameters["weight"]
    if weight.dtype == torch.int8:
        numbers: Tensor = weight.data * (weight.SCB / _INT8).unsqueeze(1)
        return numbers
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state)


def read_elsewhere(model: PreTrainedModel) -> list[str]:
    """Find the quantized layers whose weight is read outside the layer itself, by running the model on a few tokens.

    While it runs, the class of each quantized layer is replaced by a subclass whose `weight` is a property.

    Returns:
        patterns of their names, since what holds for one layer holds for all whose names differ only in numbers.
    """
    names = {module: name for name, module in model.named_modules() if is_quantized(module)}
    running: set[nn.Module] = set()
    patterns: set[str] = set()

    def watched_weight(module: nn.Module) -> Tensor | nn.Parameter | None:
        if module in running:
            return module._parameters["weight"]
        patterns.add(re.sub(r"\d+", r"\\d+", re.escape(names[module])))
        return dequantized(module)

    with ExitStack() as undo, torch.no_grad():
        for module in names:
            plain = type(module)
            undo.callback(setattr, module, "__class__", plain)
            module.__class__ = type(plain.__name__, (plain,), {"weight": property(watched_weight)})
            undo.enter_context(module.register_forward_pre_hook(lambda module, _: running.add(module)))
            undo.enter_context(module.register_forward_hook(lambda module, *_: running.discard(module)))
        model(input_ids=torch.arange(4, device=model.device)[None], use_cache=False)
    return sorted(patterns)


def describe_quantization(model: nn.Module) -> str:
    """Describe in one line how many linear layers are quantized, what is not, and the model's size in memory."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    stacks = sum(parameter.dim() == 3 and min(parameter.shape) > 1 for parameter in model.parameters())
    line = f"{sum(map(is_quantized, linear))} of {len(linear)} linear layers are quantized"
    if stacks:
        line += f", {stacks} stacks of fused experts are not"
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return f"{line}; {size / 1e6:.1f} MB of parameters."


def _quantization_config(
    skeleton: PreTrainedModel, quantization: Quantization, dtype: torch.dtype, skipped: Sequence[str] = ()
) -> BitsAndBytesConfig:
    """Return the configuration that quantizes all but the output head, `skipped` and the layers NF4 reads wrongly."""
    from transformers import BitsAndBytesConfig
    from transformers.quantizers.base import get_keys_to_not_convert

    excluded = [*get_keys_to_not_convert(skeleton), *skipped]
    widths = _input_widths(skeleton, excluded)
    unreadable = [name for name, width in widths.items() if quantization == "nf4" and width % _BLOCK]
    if len(unreadable) == len(widths):
        condition = f"whose input width is a multiple of {_BLOCK}" if unreadable else "apart from its output head"
        raise UnwriteError(
            f"{type(skeleton).__name__} has no plain linear layer {condition}, so {quantization} would quantize "
            "nothing. Set model.quantization to none."
        )
    return BitsAndBytesConfig(
        load_in_4bit=quantization == "nf4",
        load_in_8bit=quantization == "int8",
        llm_int8_skip_modules=[*excluded, *unreadable],  # despite its name, for 4-bit layers too
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _input_widths(skeleton: PreTrainedModel, excluded: list[str]) -> dict[str, int]:
    """Return the input width of each layer that transformers would quantize, by name."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    return {
        name: module.weight.shape[0 if isinstance(module, Conv1D) else 1]
        for name, module in skeleton.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, excluded)
    }


def _make_deterministic(model: nn.Module) -> None:
    """Make quantized layers compute the same on every processor and in every batch, from their weights alone.

    On a CPU with avx512_bf16 the first forward pass would repack 4-bit weights in place, which needs sizes that not
    every model has, and reading the weights afterwards would give garbage. LLM.int8 also quantizes the inputs, with
    outlier columns taken from the whole batch, so a prompt's logits would depend on its neighbours; here 8-bit weights
    multiply the inputs as they are.
    """
    for module in model.modules():
        if not isinstance(module, nn.Linear) or not is_quantized(module):
            continue
        if module.weight.dtype == torch.int8:
            module.forward = partial(_int8_product, module)  # type: ignore[method-assign]
        else:
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # a bool, of Linear4bit


def _int8_product(module: nn.Linear, x: Tensor) -> Tensor:
    """Compute y = (diag(s/127) C) x + b, with C the 8-bit weight [d, k] and s the largest magnitude of each row."""
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return nn.functional.linear(x, dequantized(module).to(x.dtype), bias)


def _refuse_missing_packages(quantization: Quantization) -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UnwriteError(
                f"model.quantization is {quantization}, which needs {package}. "
                "Run pip install 'unwrite[quantized]', or set model.quantization to none."
            )


def _refuse_device(quantization: Quantization, device: torch.device) -> None:
    if device.type not in _DEVICES:
        raise UnwriteError(
            f"model.quantization is {quantization}, which runs on {' and '.join(_DEVICES)}, not on {device.type}. "
            "Set it to none, or set runtime.device to cpu."
        )


def _import_bitsandbytes() -> None:
    """Import bitsandbytes silently, and without the kernel that it would otherwise download and run."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    hidden = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # importing it fails, as if it were not installed
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        if hidden is not None:
            sys.modules["kernels"] = hidden
