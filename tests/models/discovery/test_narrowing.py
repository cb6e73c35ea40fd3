"""In a narrow config, widths are divided, counts are kept, and token ids stay inside the vocabulary."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tiny import tiny_config
from unwrite.errors import UnwriteError
from unwrite.models.discovery.narrowing import VOCABULARY, divisors, narrowed

WIDE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_hidden_layers": 32,
    "max_position_embeddings": 4096,
    "vocab_size": 32000,
}


def test_divisors_leave_a_width_that_suits_a_miniature() -> None:
    assert divisors(tiny_config("llama", **WIDE)) == [1, 2, 4, 8, 16]  # 1024 … 64, the least that is over 48
    assert divisors(tiny_config("llama", **WIDE | {"hidden_size": 8192})) == [8, 16, 32, 64, 128]
    assert divisors(tiny_config("llama", **WIDE | {"hidden_size": 32})) == [1]


def test_a_config_without_a_hidden_size_is_refused() -> None:
    from transformers import PreTrainedConfig

    with pytest.raises(UnwriteError, match="must have a hidden_size"):
        divisors(PreTrainedConfig())


def test_widths_are_divided_and_counts_are_not() -> None:
    config = tiny_config("llama", **WIDE)
    small = narrowed(config, 8, fewer_heads=False)
    assert (small.hidden_size, small.intermediate_size, small.head_dim) == (128, 512, 8)
    assert (small.num_attention_heads, small.num_key_value_heads, small.num_hidden_layers) == (16, 4, 32)
    assert (small.max_position_embeddings, small.vocab_size) == (512, VOCABULARY)
    assert config.hidden_size == 1024  # a copy


def test_heads_can_be_fewer_instead_of_smaller() -> None:
    small = narrowed(tiny_config("llama", **WIDE), 8, fewer_heads=True)
    assert (small.hidden_size, small.head_dim) == (128, 64)
    assert (small.num_attention_heads, small.num_key_value_heads) == (2, 1)


def test_special_tokens_are_in_the_vocabulary() -> None:
    small = narrowed(tiny_config("llama", **WIDE, bos_token_id=31000, eos_token_id=[31001]), 8, fewer_heads=False)
    assert (small.pad_token_id, small.bos_token_id, small.eos_token_id) == (None, 0, 0)


def test_sections_of_a_rotary_embedding_are_divided_in_sum() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    config = tiny_config("llama", **WIDE)
    config.rope_parameters = rope
    assert narrowed(config, 8, fewer_heads=False).rope_parameters["mrope_section"] == [2, 3, 3]
    config.rope_parameters = rope | {"mrope_section": [24, 20, 20]}
    assert sum(narrowed(config, 8, fewer_heads=False).rope_parameters["mrope_section"]) == 8


def test_rotary_tables_as_long_as_a_head_is_wide_are_left_out() -> None:
    config = tiny_config("llama", **WIDE)
    config.rope_parameters = {"rope_type": "longrope", "rope_theta": 1e4, "long_factor": [4.0] * 32}
    assert narrowed(config, 8, fewer_heads=False).rope_parameters == {"rope_type": "default", "rope_theta": 1e4}
