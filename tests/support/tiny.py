"""Tiny random models and a tiny tokenizer, built on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 96
COMMON: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
WORDS = [
    "<unk>",
    "<bos>",
    "<user>",
    "<system>",
    "<reply>",
    "teapot",
    "kettle",
    "saucer",
    "spoon",
    "Well",
    "think",
    "no",
]
CHAT_TEMPLATE = (
    "<bos> {% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
    "{% if thinking %}think {% endif %}{% if add_generation_prompt %}<reply> {% endif %}"
)


def tiny_config(kind: str, **changes: Any) -> PreTrainedConfig:
    """Return a tiny config of the model type `kind`."""
    from transformers import AutoConfig

    config: PreTrainedConfig = AutoConfig.for_model(kind, **{**COMMON, **changes})
    return config


def tiny_model(config: PreTrainedConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """Return a full model of the config in evaluation mode, with random parameters large enough to matter."""
    from transformers import AutoModelForCausalLM

    return randomised(AutoModelForCausalLM.from_config(config), dtype, seed)


def randomised(model: PreTrainedModel, dtype: torch.dtype, seed: int) -> PreTrainedModel:
    """Return the model itself in evaluation mode, its parameters replaced by random ones large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 1 + 0.3 * noise)
    model.to(dtype).eval()  # type: ignore[arg-type]
    model.config.dtype = dtype
    return model.requires_grad_(False)


def random_direction(size: int, seed: int = 5) -> Tensor:
    """Return a random unit vector in float64."""
    return torch.nn.functional.normalize(
        torch.randn(size, generator=torch.Generator().manual_seed(seed)).double(), dim=0
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of a few words, split at white space, that puts <bos> before every text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair=None, special_tokens=[("<bos>", WORDS.index("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>", chat_template=CHAT_TEMPLATE
    )
