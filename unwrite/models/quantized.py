"""Linear layers that hold 4- or 8-bit weights (bitsandbytes), for finding directions and recipes in less memory.

The release is edited in full precision; only what is measured on the way to it is quantized. What the packed weights
make of an input does not depend on what else is in the batch, in either format, beyond rounding.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PACKAGES = ("bitsandbytes", "accelerate")  # transformers asks for the second wherever the first is used
_DEVICES = ("cpu", "cuda")
_BLOCK = 64  # weights that share a scale in NF4
_INT8 = 127.0


def load_quantized(
    load: Callable[[Mapping[str, Any]], PreTrainedModel],
    skeleton: PreTrainedModel,
    quantization: str,
    dtype: torch.dtype,
    device: torch.device,
) -> PreTrainedModel:
    """A model with its linear layers quantized while it is loaded.

    `nf4` is NF4 with double quantization (Dettmers et al. 2023, QLoRA), computing in `dtype`. `int8` is the row-wise
    absmax of LLM.int8 (Dettmers et al. 2022). The output head and what is tied to it, embeddings, and everything that
    is not a plain linear layer (fused experts, norms, convolutions) stay as they are. So does a linear layer whose
    weight the model's code reads past the layer itself, a router's say: it would take packed integers for numbers. And
    with `nf4` one whose input width is no multiple of 64: bitsandbytes 0.50 reads it wrong on a CPU with AVX-512.

    Args:
        load: What loads the model in evaluation mode, given further arguments of `from_pretrained`.
        skeleton: The model without values.
        quantization: `nf4` or `int8`.
        dtype: What it computes in.
        device: Where it is to be.

    Raises:
        UnwriteError: bitsandbytes is not installed or can't use the device, or the model has no layer for it.
    """
    _refuse(quantization, device)
    _import_bitsandbytes()
    model = load(_options(skeleton, quantization, dtype, device, spared=[]))
    _settle(model)
    if spared := read_elsewhere(model):
        del model  # one in memory at a time
        model = load(_options(skeleton, quantization, dtype, device, spared))
        _settle(model)
    return model


def is_quantized(module: nn.Module) -> bool:
    """Whether a module is a linear layer whose weight is packed integers, which can't be edited."""
    return isinstance(module, nn.Linear) and not module._parameters["weight"].is_floating_point()  # type: ignore[union-attr]


def dequantized(module: nn.Module) -> Tensor:
    """The numbers that a quantized layer's weight stands for, [d, k] in the dtype of the original (int8: float32)."""
    weight: Any = module._parameters["weight"]
    if weight.dtype == torch.int8:
        numbers: Tensor = weight.data * (weight.SCB / _INT8).unsqueeze(1)
        return numbers
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state)


def read_elsewhere(model: PreTrainedModel) -> list[str]:
    """Quantized layers whose weight the model's code reads itself, found by running it on a few tokens.

    Returns:
        Patterns of their names: what is true of a layer is true of all with other numbers in the name.
    """
    names = {module: name for name, module in model.named_modules() if is_quantized(module)}
    running: set[nn.Module] = set()
    found: set[str] = set()

    def weight(module: nn.Module) -> Tensor | nn.Parameter | None:
        if module in running:
            return module._parameters["weight"]
        found.add(re.sub(r"\d+", r"\\d+", re.escape(names[module])))
        return dequantized(module)

    with ExitStack() as undo, torch.no_grad():
        for module in names:
            plain = type(module)
            undo.callback(setattr, module, "__class__", plain)
            module.__class__ = type(plain.__name__, (plain,), {"weight": property(weight)})
            undo.callback(module.register_forward_pre_hook(lambda module, _: running.add(module)).remove)
            undo.callback(module.register_forward_hook(lambda module, *_: running.discard(module)).remove)
        model(input_ids=torch.arange(4, device=model.device)[None], use_cache=False)
    return sorted(found)


def describe_quantization(model: nn.Module) -> str:
    """One line for the log: how many linear layers are quantized, what stays, and the model's size in memory."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    stacks = sum(parameter.dim() == 3 and min(parameter.shape) > 1 for parameter in model.parameters())
    line = f"{sum(map(is_quantized, linear))} of {len(linear)} linear layers are quantized"
    if stacks:
        line += f", {stacks} stacks of fused experts are not"
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    return f"{line}; {size / 1e6:.1f} MB of parameters."


def _options(
    skeleton: PreTrainedModel, quantization: str, dtype: torch.dtype, device: torch.device, spared: Sequence[str]
) -> dict[str, Any]:
    """Further arguments of `from_pretrained`."""
    from transformers import BitsAndBytesConfig
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = [*get_keys_to_not_convert(skeleton), *spared]
    widths = {
        name: module.weight.shape[0 if isinstance(module, Conv1D) else 1]
        for name, module in skeleton.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept)
    }
    unreadable = [name for name, width in widths.items() if quantization == "nf4" and width % _BLOCK]
    if len(unreadable) == len(widths):
        what = f"whose input width is a multiple of {_BLOCK}" if unreadable else "besides its output head"
        raise UnwriteError(
            f"{type(skeleton).__name__} has no plain linear layer {what}, so {quantization} would quantize nothing: "
            "set model.quantization to none."
        )
    config = BitsAndBytesConfig(
        load_in_4bit=quantization == "nf4",
        load_in_8bit=quantization == "int8",
        llm_int8_skip_modules=[*kept, *unreadable],  # of 4-bit layers too, whatever its name
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": str(device)}}


def _settle(model: nn.Module) -> None:
    """Makes quantized layers compute what their weights say, whatever the processor and the batch.

    On a CPU with avx512_bf16 the first forward pass would repack 4-bit weights in place: it needs sizes that not every
    model has, and what reads the weights afterwards reads garbage. LLM.int8 quantizes the inputs too, with the columns
    of outliers taken from the whole batch, so that a prompt's logits would depend on its neighbours; here 8-bit weights
    are multiplied by inputs as they are.
    """
    for module in model.modules():
        if not isinstance(module, nn.Linear) or not is_quantized(module):
            continue
        if module.weight.dtype == torch.int8:
            module.forward = partial(_int8_product, module)  # type: ignore[method-assign]
        else:
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]  # a bool, of Linear4bit


def _int8_product(module: nn.Linear, x: Tensor) -> Tensor:
    """Computes y = (diag(s/127) C) x + b, with C the 8-bit weight [d, k] and s the largest magnitude of each row."""
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return nn.functional.linear(x, dequantized(module).to(x.dtype), bias)


def _refuse(quantization: str, device: torch.device) -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UnwriteError(
                f"model.quantization is {quantization}, which needs {package}: "
                "pip install 'unwrite[quantized]', or set it to none."
            )
    if device.type not in _DEVICES:
        raise UnwriteError(
            f"model.quantization is {quantization}, which runs on {' and '.join(_DEVICES)}, not on {device.type}: "
            "set it to none, or runtime.device to cpu."
        )


def _import_bitsandbytes() -> None:
    """Imports bitsandbytes, silently, and without the kernel that it would download and run if it could."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    hidden = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # importing it fails, as if it were not installed
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        if hidden is not None:
            sys.modules["kernels"] = hidden
