"""A miniature: the same architecture, every layer of it, with narrow random weights in float64.

Which modules write the residual stream is decided by the architecture, not by the values, so it is found on a model
that fits anywhere.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY = 128
_HEADS, _HEAD_DIM, _INTERMEDIATE = 4, 16, 96


def build_miniature(config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the miniature of a causal language model's config, in evaluation mode.

    Its weights are random and of a size that lets every part matter (the default 0.02 initialisation hides some).

    Raises:
        UnwriteError: transformers has no causal language model for the config, or narrowing it changes its modules.
    """
    with torch.device("meta"):
        full = _build(config)
    small = _build(_narrowed(config))
    if _modules(full) != _modules(small):
        raise UnwriteError(
            f"{type(full).__name__} can't be examined: narrowing its configuration changes its modules. "
            "Only dense decoder-only models are supported so far."
        )
    generator = torch.Generator().manual_seed(0)
    for parameter in small.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        # Matrices keep the size of what passes through; vectors are scales (or biases) around one.
        parameter.data = noise / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 1 + 0.3 * noise
    small.double().eval()
    return small


def _build(config: PreTrainedConfig) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="eager"
        )
    except (ValueError, KeyError, AttributeError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnwriteError(
            f"transformers can't build a causal language model of type {config.model_type!r}: {reason[:200]} "
            "Expected a decoder-only text model."
        ) from error
    return model


def _narrowed(config: PreTrainedConfig) -> PreTrainedConfig:
    small = copy.deepcopy(config)
    heads = getattr(config, "num_attention_heads", None)
    groups = getattr(config, "num_key_value_heads", None) or heads
    values: dict[str, Any] = {
        "hidden_size": _HEADS * _HEAD_DIM,
        "intermediate_size": _INTERMEDIATE,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS if groups == heads else 1 if groups == 1 else 2,
        "head_dim": _HEAD_DIM,
        "vocab_size": VOCABULARY,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    for name, value in values.items():
        if getattr(config, name, None) is not None:
            setattr(small, name, value)
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and "rope_type" in rope:
        # Scaled rotary embeddings have tables as long as the real head is wide; what they do is not what writes.
        kept = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
        small.rope_parameters = {"rope_type": "default", **kept}
    return small


def _modules(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]
