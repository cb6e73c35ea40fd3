"""A miniature: the same architecture, every layer of it, with narrow random weights in float64.

Which modules write the residual stream is decided by the architecture, not by the values, so it is found on a model
that fits anywhere.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.loading import trust_remote_code

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY = 128
_HEADS, _HEAD_DIM, _INTERMEDIATE = 4, 16, 96
_BUILD_ERRORS = (ValueError, KeyError, AttributeError, TypeError, AssertionError, RuntimeError)
_ROPE_TABLES = ("long_factor", "short_factor", "mrope_section")
_LARGEST = 1 << 27  # parameters; a gigabyte in float64, and a hundred times what a dense model of 126 layers needs


def build_miniature(config: PreTrainedConfig) -> PreTrainedModel:
    """Builds the miniature of a causal language model's config, in evaluation mode.

    Its weights are random and of a size that lets every part matter (the default 0.02 initialisation hides some).

    Raises:
        UnwriteError: transformers has no causal language model for the config, or narrowing it changes its modules.
    """
    from huggingface_hub.errors import StrictDataclassError

    _refuse_composite(config)
    try:
        narrowed = _narrowed(config)
        with torch.device("meta"):
            full, plan = _build(config), _build(narrowed)
    except (*_BUILD_ERRORS, StrictDataclassError) as error:
        raise UnwriteError(
            f"transformers can't build a causal language model of type {config.model_type!r} ({reason_of(error)}). "
            "Expected a decoder-only text model."
        ) from error
    name = type(full).__name__
    if _modules(full) != _modules(plan):
        raise UnwriteError(
            f"{name} can't be examined: narrowing its configuration changes its modules. "
            "Only dense decoder-only models are supported so far."
        )
    if (size := sum(parameter.numel() for parameter in plan.parameters())) > _LARGEST:
        raise UnwriteError(
            f"{name} can't be examined: its narrow copy still has {size:,} parameters. "
            "Only dense decoder-only models are supported so far."
        )
    small = _build(narrowed)
    generator = torch.Generator().manual_seed(0)
    for parameter in small.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        # Matrices keep the size of what passes through; vectors are scales (or biases) around one.
        parameter.data = noise / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 1 + 0.3 * noise
    small.double().eval()
    return small


def _refuse_composite(config: PreTrainedConfig) -> None:
    # transformers would build the decoder of one, whose cross-attention then never runs, or the whole of the other.
    text = getattr(config, "text_config", None) or getattr(config, "decoder", None)
    if config.is_encoder_decoder or text is not None:
        kind = "an encoder and a decoder" if config.is_encoder_decoder else "more than a text model"
        raise UnwriteError(
            f"A model of type {config.model_type!r} has {kind}, which is not supported yet; nothing is edited in part. "
            "Expected a decoder-only text model."
        )


def _build(config: PreTrainedConfig) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        copy.deepcopy(config),  # it is changed
        attn_implementation="eager",
        experts_implementation="eager",
        trust_remote_code=trust_remote_code(),
    )
    return model


def _narrowed(config: PreTrainedConfig) -> PreTrainedConfig:
    small = copy.deepcopy(config)
    heads = getattr(config, "num_attention_heads", None)
    groups = getattr(config, "num_key_value_heads", None) or heads
    values: dict[str, Any] = {
        "hidden_size": _HEADS * _HEAD_DIM,
        "intermediate_size": _INTERMEDIATE,
        "moe_intermediate_size": _INTERMEDIATE,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS if groups == heads else 1 if groups == 1 else 2,
        "head_dim": _HEAD_DIM,
        "vocab_size": VOCABULARY,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    for name, value in values.items():
        if getattr(config, name, None) is not None:
            with suppress(AttributeError):  # derived from others in some configs
                setattr(small, name, value)
    rope = getattr(config, "rope_parameters", None)
    if isinstance(rope, dict) and any(table in rope for table in _ROPE_TABLES):
        # As long as the real head is wide; what rotary embeddings do is not what writes.
        kept = {key: value for key, value in rope.items() if key not in _ROPE_TABLES}
        small.rope_parameters = {**kept, "rope_type": "default"}
    return small


def _modules(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]
