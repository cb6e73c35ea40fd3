"""The miniature: the same modules, narrow whatever the size, and the caller's config left alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch

from tests.models.tiny import tiny_config
from unwrite.errors import UnwriteError
from unwrite.models import miniature
from unwrite.models.miniature import build_miniature
from unwrite.models.writers import find_writers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

BIG = {
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008],
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}


def test_a_model_of_four_hundred_billion_is_examined_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    built = miniature._build

    def watch(config: PreTrainedConfig) -> PreTrainedModel:
        nonlocal largest
        model = built(config)
        held = (*model.parameters(), *model.buffers())
        largest = max(largest, sum(tensor.numel() for tensor in held if not tensor.is_meta))
        return model

    monkeypatch.setattr(miniature, "_build", watch)
    config = tiny_config("llama", **BIG)
    found = find_writers(config)
    assert len(found.writers) == 2 * 126
    assert found.completeness < 1e-5
    assert 0 < largest < 10_000_000


def test_it_has_the_modules_of_the_real_one_and_narrow_float64_weights() -> None:
    from transformers import AutoModelForCausalLM

    config = tiny_config("qwen2", num_attention_heads=8, hidden_size=128)
    small, real = build_miniature(config), AutoModelForCausalLM.from_config(config)
    assert [(n, type(m)) for n, m in small.named_modules()] == [(n, type(m)) for n, m in real.named_modules()]
    assert {p.dtype for p in small.parameters()} == {torch.float64}
    assert not small.training
    assert max(max(p.shape) for p in small.parameters()) <= miniature.VOCABULARY
    first = dict(build_miniature(config).named_parameters())
    assert all(torch.equal(p, first[name]) for name, p in small.named_parameters())


def test_the_callers_config_is_left_alone() -> None:
    config = tiny_config("phi3")
    before = copy.deepcopy(config.to_dict())
    attention = config._attn_implementation
    build_miniature(config)
    assert config.to_dict() == before
    assert config._attn_implementation == attention


def test_a_config_whose_narrowing_changes_its_modules_is_refused() -> None:
    # OPT projects its embeddings only where they are narrower than the stream.
    config = tiny_config("opt", ffn_dim=48, word_embed_proj_dim=32)
    with pytest.raises(UnwriteError, match="OPTForCausalLM can't be examined: narrowing its configuration changes"):
        build_miniature(config)


def test_what_stays_large_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("gpt2", max_position_embeddings=1 << 22)  # a table of positions is not made shorter
    devices = []
    built = miniature._build

    def watch(config: PreTrainedConfig) -> PreTrainedModel:
        model = built(config)
        devices.append(next(model.parameters()).device.type)
        return model

    monkeypatch.setattr(miniature, "_build", watch)
    with pytest.raises(UnwriteError, match=r"still has \d{3},\d{3},\d{3} parameters"):
        build_miniature(config)
    assert devices == ["meta", "meta"]


def test_per_layer_widths_are_refused() -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match="of type 'gemma4_text'"):
        build_miniature(AutoConfig.for_model("gemma4_text"))
