"""Prompts beyond what a model takes: refused with prompt, length and limit."""

import pytest

from tests.support.tiny import tiny_config
from unwrite.errors import UnwriteError
from unwrite.models.prompt_limits import longest_sequence, refuse_too_long, refuse_unknown_tokens


def test_the_config_names_the_limit() -> None:
    assert longest_sequence(tiny_config("llama", max_position_embeddings=77)) == 77
    from transformers import BloomConfig, GPT2Config

    assert longest_sequence(GPT2Config(n_positions=64)) == 64
    assert longest_sequence(BloomConfig()) is None  # its positions need no table


def test_scaled_rotary_positions_reach_further() -> None:
    scaled = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 77, "rope_theta": 1e4}
    assert longest_sequence(tiny_config("llama", max_position_embeddings=77, rope_parameters=scaled)) == 308
    # Where the config gives the scaled length already, it counts.
    assert longest_sequence(tiny_config("llama", max_position_embeddings=400, rope_parameters=scaled)) == 400


def test_a_prompt_with_its_response_must_fit() -> None:
    refuse_too_long("target test", ["tea"], [[1, 2, 3]], 5, 8)
    refuse_too_long("target test", ["tea"], [[1, 2, 3]], 5, None)
    with pytest.raises(
        UnwriteError, match=r"prompt 'tea' has 3 tokens and its response of up to 6, .* 8 .* lower max_tokens"
    ):
        refuse_too_long("target test", ["tea"], [[1, 2, 3]], 6, 8)
    with pytest.raises(UnwriteError, match=r"has 9 tokens, but the model takes 8 .*Shorten it, or set tokenize"):
        refuse_too_long("target train", ["tea"], [[1] * 9], 0, 8)


def test_a_token_beyond_the_embedding_is_refused() -> None:
    refuse_unknown_tokens("target test", ["tea", ""], [[1, 9], []], 10)
    with pytest.raises(UnwriteError, match=r"gives token 10 for the target test prompt 'tea', but .* only 10 tokens"):
        refuse_unknown_tokens("target test", ["cup", "tea"], [[1], [10]], 10)
