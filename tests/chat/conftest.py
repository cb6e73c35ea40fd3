"""Two tiny chat models of one tokenizer, in folders and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.support.tiny import WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite.chat.speaker import Speaker

MakeSpeaker = Callable[..., Speaker]
LIMIT = 40
"""Tokens that the tiny models take."""


def tiny_speaking_model(seed: int) -> PreTrainedModel:
    """A tiny chat model whose every token is a word of the tiny tokenizer, and none of its special tokens."""
    model = tiny_model(tiny_config("llama", vocab_size=len(WORDS), max_position_embeddings=LIMIT), seed=seed)
    with torch.no_grad():
        rows = model.get_parameter("lm_head.weight")
        words = WORDS.index("<user>")
        rows[:words] = rows[words:].mean(0)  # a mean of logits is below the greatest
    return model


def save_tiny(folder: Path, seed: int) -> Path:
    """Write a tiny chat model with its tokenizer."""
    tiny_speaking_model(seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def make_speaker() -> MakeSpeaker:
    """Make a speaker: a tiny model in memory."""

    def make(name: str = "edited", seed: int = 0, max_tokens: int = 5, **options: object) -> Speaker:
        tokenizer = options.pop("tokenizer", None) or tiny_tokenizer()
        return Speaker(name, tiny_speaking_model(seed), tokenizer, max_tokens=max_tokens, **options)  # type: ignore[arg-type]

    return make
