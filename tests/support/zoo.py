"""A tiny config of every decoder-only architecture in transformers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from tests.support.tiny import COMMON, randomised, tiny_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_Changes = Mapping[str, Any]

_SLIDING = "sliding_attention"
_FULL = "full_attention"
_LINEAR = "linear_attention"
_INDEXED = "indexed_attention"
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_IDS: _Changes = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WINDOW: _Changes = {"sliding_window": 4, "layer_types": [_SLIDING, _FULL, _SLIDING]}
_LAST_FULL: _Changes = {"sliding_window": 4, "layer_types": [_SLIDING, _SLIDING, _FULL]}
_MIXED_MLP: _Changes = {"mlp_layer_types": ["dense", "sparse", "sparse"]}
_EXPERTS: _Changes = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SHARED: _Changes = {**_EXPERTS, "shared_expert_intermediate_size": 24}
_ROUTED: _Changes = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT: _Changes = {
    "num_key_value_heads": 4,
    "q_lora_rank": 20,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}
_INDEXER: _Changes = {"index_topk": 4, "index_head_dim": 8, "index_n_heads": 8}  # few heads make ties
_DELTA: _Changes = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 10,
}
_QWEN_HYBRID: _Changes = {**_DELTA, "head_dim": 16, "layer_types": [_LINEAR, _LINEAR, _FULL]}
_QWEN_4: _Changes = {
    **_DELTA,
    **_SHARED,
    "head_dim": 16,
    "layer_types": [_LINEAR, _LINEAR, _INDEXED],
    "hc_count": 2,
    "hc_lowrank": 6,
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 4,
    "indexer_compress_ratio": 2,
    "ple_layer_ids": [2],
    "ple_embed_dim": 24,
    "ngram_size": 3,
    "heads_per_ngram": 2,
    "ngram_vocab_size_base": 64,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 1,
    "eos_token_id": 2,
}
_MAMBA_2: _Changes = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 10,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 4,
}
_GEMMA_4: _Changes = {
    **_LAST_FULL,
    "head_dim": 8,
    "global_head_dim": 16,
    "hidden_size_per_layer_input": 12,
    "vocab_size_per_layer_input": 96,
}
_GEMMA_3N: _Changes = {
    "num_hidden_layers": 4,
    "layer_types": [_SLIDING, _FULL, _SLIDING, _FULL],
    "intermediate_size": [48] * 4,
    "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0],
    "sliding_window": 4,
    "head_dim": 8,
    "num_kv_shared_layers": 2,
    "laurel_rank": 6,
    "altup_num_inputs": 2,
    "hidden_size_per_layer_input": 12,
    "vocab_size_per_layer_input": 96,
}
_DOTS_3: _Changes = {
    **_ROUTED,
    **_LATENT,
    **_MIXED_MLP,
    **_INDEXER,
    **{f"swa_{name}": size for name, size in _LATENT.items() if name != "qk_rope_head_dim"},
    "swa_num_attention_heads": 4,
    "swa_head_dim": 12,
    "layer_types": [_INDEXED, _SLIDING, _INDEXED],
    "sliding_window": 4,
    "shared_experts_intermediate_size": 24,
}
_INKLING: _Changes = {
    "layer_types": ["hybrid_sliding", "hybrid_sliding", "hybrid"],
    "head_dim": 8,
    "swa_head_dim": 8,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "sliding_window_size": 4,
    "d_rel": 6,
    "rel_extent": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
_INKLING_1: _Changes = {**_INKLING, **_MIXED_MLP, "n_shared_experts": 2, "logits_mup_width_multiplier": 2.0}
_INKLING_2: _Changes = {
    **_INKLING,
    "intermediate_size": 16,
    "unpadded_vocab_size": 96,
    "n_layers_per_attn_res_block": 2,
}
_NEMOTRON_H: _Changes = {
    "num_hidden_layers": 4,
    "layers_block_type": [_LINEAR, "moe", _FULL, "mlp"],
    "head_dim": 8,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "ssm_state_size": 10,
    "n_groups": 2,
    "chunk_size": 4,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
}

_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_LLAMA_4: _Changes = {
    "num_hidden_layers": 4,
    "layer_types": ["chunked_attention", _FULL, "chunked_attention", _FULL],
    "no_rope_layers": [1, 0, 1, 0],
    "attention_chunk_size": 4,
    "interleave_moe_layer_step": 2,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "intermediate_size": 24,
    "intermediate_size_mlp": 48,
    "head_dim": 8,
}
_MINIMAX_M3: _Changes = {
    **_MIXED_MLP,
    "layer_types": [_FULL, "minimax_m3_sparse", _FULL],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 8,
    "rotary_dim": 4,
    "intermediate_size": 16,
    "dense_intermediate_size": 48,
    "shared_intermediate_size": 24,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_block_size": 2,
    "index_topk_blocks": 2,
}
_MROPE = {**_ROPE, "mrope_section": [2, 1, 1]}
_VISION: _Changes = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
_TOWER: _Changes = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": 32,
}
_DEEP_TOWER: _Changes = {**_TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
_MOLMO_2: _Changes = {
    "vision_config": {
        **_VISION,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "image_size": [16, 16],
        "num_position_embeddings": 4,
    },
    "adapter_config": {
        "vision_feature_layer": [1, 0],
        "hidden_size": 24,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "intermediate_size": 40,
        "text_hidden_size": 32,
    },
}
_SAM: _Changes = {
    "hidden_size": 24,
    "output_channels": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "window_size": 2,
    "global_attn_indexes": [1],
    "mlp_dim": 40,
}
_LLAVA: _Changes = {"text_config": {}, "vision_config": _VISION, "image_token_index": 96}

ZOO: Mapping[str, tuple[str, _Changes]] = {  # name: (model type, what is changed in its config)
    "afmoe": (
        "afmoe",
        {**_EXPERTS, **_LAST_FULL, "num_shared_experts": 1, "num_dense_layers": 1, "head_dim": 8},
    ),
    "apertus": ("apertus", {"rope_parameters": _ROPE}),
    "arcee": ("arcee", {}),
    "aria_text": ("aria_text", {"moe_num_experts": 8, "moe_topk": 2, "moe_num_shared_experts": 1}),
    "axk1": ("axk1", {**_ROUTED, **_LATENT, **_MIXED_MLP}),
    "axk2": ("axk2", {**_ROUTED, **_LATENT, **_MIXED_MLP, **_INDEXER, "gated_norm_rank": 6}),
    "bailing_hybrid": (
        "bailing_hybrid",
        {
            "num_key_value_heads": 4,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 12,
            "head_dim": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "n_group": 1,
            "topk_group": 1,
            "layer_types": [_LINEAR, _LINEAR, _FULL],
            **_MIXED_MLP,
        },
    ),
    "bamba": ("bamba", {**_MAMBA_2, "attn_layer_indices": [1]}),
    "beam": ("beam", {**_EXPERTS, **_MIXED_MLP, **_LAST_FULL, "n_group": 1, "topk_group": 1, "head_dim": 8}),
    "biogpt": ("biogpt", {}),
    "bitnet": ("bitnet", {}),
    "bloom": ("bloom", {}),
    "bloom_post_norm": ("bloom", {"apply_residual_connection_post_layernorm": True}),
    "blt": (
        "blt",
        {
            **{name: COMMON[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
            "vocab_size": 96,
            "encoder_hash_byte_group_size": [3, 4],
            "encoder_hash_byte_group_vocab": 96,
            "patcher_config": {**COMMON, "num_hidden_layers": 2, "num_key_value_heads": 4},
            "encoder_config": {
                **COMMON,
                "hidden_size": 24,
                "num_key_value_heads": 4,
                "hidden_size_global": 32,
                "num_hidden_layers": 1,
                "cross_attn_k": 2,
            },
            "decoder_config": {
                **COMMON,
                "hidden_size": 24,
                "num_key_value_heads": 4,
                "hidden_size_global": 32,
                "num_hidden_layers": 2,
                "cross_attn_k": 2,
            },
            "global_config": {**COMMON, "num_key_value_heads": 4},
        },
    ),
    "codegen": ("codegen", {"rotary_dim": 4, "n_inner": 48}),
    "cohere": ("cohere", {}),
    "cohere2": ("cohere2", _WINDOW),
    "cohere2_moe": (
        "cohere2_moe",
        {
            **_WINDOW,
            **_MIXED_MLP,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "num_shared_experts": 1,
            "head_dim": 8,
            "prefix_dense_intermediate_size": 40,
        },
    ),
    "cohere_compass_text": ("cohere_compass_text", {"rope_parameters": {_SLIDING: _ROPE, _FULL: _ROPE}, **_WINDOW}),
    "cpmant": ("cpmant", {"dim_ff": 48, "dim_head": 8, "prompt_length": 4}),
    "ctrl": ("ctrl", {"dff": 48}),
    "cwm": ("cwm", {**_WINDOW, "head_dim": 8, **_IDS, "rope_parameters": _ROPE}),
    "dbrx": (
        "dbrx",
        {
            "d_model": 32,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 8, "moe_top_k": 2},
        },
    ),
    "deepseek_v2": ("deepseek_v2", {**_ROUTED, **_LATENT, "first_k_dense_replace": 1, "head_dim": 4}),
    "deepseek_v3": ("deepseek_v3", {**_ROUTED, **_LATENT, "first_k_dense_replace": 1}),
    "deepseek_v32": ("deepseek_v32", {**_ROUTED, **_LATENT, **_MIXED_MLP, **_INDEXER}),
    "deepseek_v4": (
        "deepseek_v4",
        {
            "num_hidden_layers": 4,
            "num_key_value_heads": 1,
            "layer_types": [
                "heavily_compressed_attention",
                "compressed_sparse_attention",
                _SLIDING,
                "compressed_sparse_attention",
            ],
            "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
            "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 3},
            "head_dim": 16,
            "partial_rotary_factor": 0.25,
            "q_lora_rank": 20,
            "o_groups": 2,
            "o_lora_rank": 12,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "intermediate_size": 24,
            "hc_mult": 2,
            "sliding_window": 4,
            **_INDEXER,
        },
    ),
    "diffllama": ("diffllama", {}),
    "doge": ("doge", {}),
    "doge_moe": ("doge", {"is_moe": True, "num_experts": 16, "num_experts_per_tok": 2}),
    "dots1": ("dots1", {**_ROUTED, **_WINDOW, "first_k_dense_replace": 1}),
    "ernie4_5": ("ernie4_5", {"head_dim": 8}),
    "ernie4_5_bias": ("ernie4_5", {"head_dim": 8, "use_bias": True}),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        {
            "moe_num_experts": 8,
            "moe_k": 2,
            "moe_intermediate_size": 16,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
            "moe_layer_end_index": 2,
        },
    ),
    "exaone4": ("exaone4", _LAST_FULL),
    "exaone_moe": ("exaone_moe", {**_EXPERTS, **_LAST_FULL, **_MIXED_MLP}),
    "falcon": ("falcon", {}),
    "falcon_alibi": ("falcon", {"parallel_attn": False, "alibi": True, "bias": True, "multi_query": False}),
    "falcon_new": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_new_one_norm": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "falcon_h1": (
        "falcon_h1",
        {
            **_MAMBA_2,
            "mamba_d_ssm": 64,
            "mlp_multipliers": [0.8, 0.4],
            "attention_out_multiplier": 0.7,
            "ssm_out_multiplier": 0.3,
            "ssm_in_multiplier": 1.2,
            "ssm_multipliers": [0.4, 0.25, 0.2, 0.5, 0.35],
        },
    ),
    "falcon_mamba": ("falcon_mamba", {"state_size": 6, "time_step_rank": 5, "residual_in_fp32": False}),
    "flex_olmo": ("flex_olmo", {"num_experts": 8, "num_experts_per_tok": 2}),
    "flint": ("flint", {**_SHARED, **_LAST_FULL, "mlp_only_layers": [0], "head_dim": 8}),
    "gemma": ("gemma", {"head_dim": 16}),
    "gemma2": ("gemma2", {**_WINDOW, "head_dim": 16}),
    "gemma3_text": ("gemma3_text", {**_WINDOW, "head_dim": 16}),
    "gemma3n_text": ("gemma3n_text", _GEMMA_3N),
    "gemma4_text": ("gemma4_text", _GEMMA_4),
    "gemma4_text_moe": (
        "gemma4_text",
        {
            **_GEMMA_4,
            "hidden_size_per_layer_input": 0,
            "enable_moe_block": True,
            "num_experts": 8,
            "top_k_experts": 2,
            "moe_intermediate_size": 16,
            "attention_k_eq_v": True,
            "num_global_key_value_heads": 1,
        },
    ),
    "gemma4_text_wide": (
        "gemma4_text",
        {
            **_GEMMA_4,
            "num_hidden_layers": 4,
            "layer_types": [_SLIDING, _FULL, _SLIDING, _FULL],
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
        },
    ),
    "gemma4_unified_text": ("gemma4_unified_text", {**_LAST_FULL, "head_dim": 8, "global_head_dim": 16}),
    "glm": ("glm", {"head_dim": 8}),
    "glm4": ("glm4", {"head_dim": 8}),
    "glm4_moe": ("glm4_moe", {**_ROUTED, "first_k_dense_replace": 1}),
    "glm4_moe_lite": ("glm4_moe_lite", {**_ROUTED, **_LATENT, **_MIXED_MLP}),
    "glm_moe_dsa": (
        "glm_moe_dsa",
        {**_ROUTED, **_LATENT, **_MIXED_MLP, **_INDEXER, "indexer_types": ["full", "shared", "full"]},
    ),
    "gpt-sw3": ("gpt-sw3", {"n_inner": 48}),
    "gpt2": ("gpt2", {"n_inner": 48}),
    "gpt2_square": ("gpt2", {"n_inner": 32}),
    "gpt_bigcode": ("gpt_bigcode", {"n_inner": 48}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox_serial": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt_neox_japanese": ("gpt_neox_japanese", {}),
    "gpt_oss": (
        "gpt_oss",
        {**_WINDOW, "num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 8, "rope_parameters": _ROPE},
    ),
    "gptj": ("gptj", {"rotary_dim": 4, "n_inner": 48}),
    "granite": ("granite", {"residual_multiplier": 0.22}),
    "granite_swa": ("granite_swa", {**_WINDOW, "residual_multiplier": 0.22}),
    "granitemoe": (
        "granitemoe",
        {"residual_multiplier": 0.22, "num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 24},
    ),
    "granitemoe_swa": (
        "granitemoe_swa",
        {
            **_WINDOW,
            "residual_multiplier": 0.22,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
        },
    ),
    "granitemoehybrid": (
        "granitemoehybrid",
        {
            **_MAMBA_2,
            "residual_multiplier": 0.22,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
            "layer_types": [_LINEAR, _FULL, _LINEAR],
        },
    ),
    "granitemoehybrid_dense": (
        "granitemoehybrid",
        {
            **_MAMBA_2,
            "residual_multiplier": 0.22,
            "num_local_experts": 0,
            "shared_intermediate_size": 48,
            "layer_types": [_LINEAR, _FULL, _LINEAR],
        },
    ),
    "granitemoeshared": (
        "granitemoeshared",
        {
            "residual_multiplier": 0.22,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
        },
    ),
    "helium": ("helium", {"head_dim": 8}),
    "hrm_text": (
        "hrm_text",
        {"head_dim": 8, "H_cycles": 1, "L_cycles": 2, "L_bp_cycles": [2], "num_hidden_layers": 2},
    ),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"head_dim": 8}),
    "hunyuan_v1_moe": ("hunyuan_v1_moe", {"head_dim": 8, "num_experts": 8, "moe_topk": 2}),
    "hy_v3": ("hy_v3", {**_EXPERTS, **_MIXED_MLP, "head_dim": 8, "num_shared_experts": 1}),
    "hy_v4": (
        "hy_v4",
        {
            **_ROUTED,
            **_LATENT,
            **_MIXED_MLP,
            **_INDEXER,
            "head_dim": 8,
            "hc_mult": 2,
            "indexer_types": ["full", "shared", "full"],
        },
    ),
    "hyperclovax": ("hyperclovax", {"head_dim": 8, "residual_multiplier": 0.5}),
    "hyperclovax_pre_norm": ("hyperclovax", {"head_dim": 8, "use_post_norm": False}),
    "inkling2_text": ("inkling2_text", _INKLING_2),
    "inkling_text": ("inkling_text", _INKLING_1),
    "internlm3": ("internlm3", {"head_dim": 8}),
    "iquestcoder": ("iquestcoder", {"head_dim": 8}),
    "jais2": ("jais2", {}),
    "jamba": (
        "jamba",
        {
            "num_hidden_layers": 4,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 6,
            "mamba_dt_rank": 5,
        },
    ),
    "jetmoe": ("jetmoe", {"kv_channels": 8, "num_local_experts": 8, "num_experts_per_tok": 2}),
    "kimi_linear": (
        "kimi_linear",
        {
            **_MIXED_MLP,
            "num_key_value_heads": 4,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 12,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 16,
            "linear_head_dim": 6,
            "linear_num_heads": 4,
            "layer_types": [_LINEAR, _LINEAR, _FULL],
        },
    ),
    "kolibri1": ("kolibri1", {**_SHARED, **_LAST_FULL, "head_dim": 8}),
    "laguna": ("laguna", {**_SHARED, **_MIXED_MLP, **_WINDOW, "head_dim": 8}),
    "lfm2": ("lfm2", {"layer_types": ["conv", _FULL, "conv"], "block_auto_adjust_ff_dim": False}),
    "lfm2_moe": (
        "lfm2_moe",
        {**_EXPERTS, "layer_types": ["conv", _FULL, "conv"], "num_dense_layers": 1},
    ),
    "lfm3": ("lfm3", {"layer_types": ["conv", _FULL, _SLIDING], "sliding_window": 4, "head_dim": 8}),
    "llama": ("llama", {}),
    "llama_bias": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama_tied": ("llama", {"tie_word_embeddings": True}),
    "llama_wide": ("llama", {"head_dim": 12, "num_key_value_heads": 1}),
    "llama4_text": ("llama4_text", _LLAMA_4),
    "longcat_flash": (
        "longcat_flash",
        {
            **_LATENT,
            "num_layers": 2,
            "num_hidden_layers": 2,
            "n_routed_experts": 8,
            "moe_topk": 3,
            "zero_expert_num": 4,
            "expert_ffn_hidden_size": 16,
            "head_dim": 4,
        },
    ),
    "mamba": ("mamba", {"state_size": 6, "time_step_rank": 5, "residual_in_fp32": False}),
    "mamba2": (
        "mamba2",
        {
            "num_heads": 8,
            "head_dim": 8,
            "state_size": 10,
            "n_groups": 2,
            "chunk_size": 4,
            "residual_in_fp32": False,
        },
    ),
    "mellum": ("mellum", {**_EXPERTS, **_MIXED_MLP, **_WINDOW, "head_dim": 8}),
    "mimo_v2_flash": (
        "mimo_v2_flash",
        {
            **_MIXED_MLP,
            "layer_types": [_FULL, _SLIDING, _SLIDING],
            "sliding_window": 4,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "head_dim": 12,
            "v_head_dim": 8,
        },
    ),
    "minicpm3": ("minicpm3", {**_LATENT, "head_dim": 4, "dim_model_base": 16}),
    "minimax": (
        "minimax",
        {
            "head_dim": 8,
            "block_size": 4,
            "num_local_experts": 8,
            "layer_types": [_LINEAR, _FULL, _LINEAR],
            "linear_attn_alpha_factor": 1.5,
            "mlp_alpha_factor": 1.5,
        },
    ),
    "minimax_m2": (
        "minimax_m2",
        {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": 8, "rope_parameters": _ROPE},
    ),
    "minimax_m3_vl_text": ("minimax_m3_vl_text", _MINIMAX_M3),
    "ministral": ("ministral", {**_WINDOW, "head_dim": 8}),
    "ministral3": (
        "ministral3",
        {"head_dim": 8, "rope_parameters": _YARN},
    ),
    "mistral": ("mistral", {"sliding_window": 4}),
    "mixtral": ("mixtral", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "modernbert-decoder": (
        "modernbert-decoder",
        {
            **_IDS,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "layer_types": [_FULL, _SLIDING, _SLIDING],
            "local_attention": 4,
        },
    ),
    "moshi": ("moshi", {"head_dim": 8, "ffn_dim": 96}),
    "mpt": ("mpt", {"expansion_ratio": 2}),
    "nanochat": ("nanochat", {}),
    "nemotron": ("nemotron", {"head_dim": 8}),
    "nemotron_h": ("nemotron_h", _NEMOTRON_H),
    "nemotron_h_latent": ("nemotron_h", {**_NEMOTRON_H, "moe_latent_size": 20}),
    "olmo": ("olmo", {"clip_qkv": 8.0}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", _WINDOW),
    "olmo_hybrid": ("olmo_hybrid", {**_DELTA, "linear_num_key_heads": 4, "layer_types": [_LINEAR, _LINEAR, _FULL]}),
    "olmoe": ("olmoe", {"num_experts": 8, "num_experts_per_tok": 2}),
    "openai-gpt": ("openai-gpt", {}),
    "opt": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "opt_post_norm": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 20, "do_layer_norm_before": False}),
    "opt_no_bias": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "enable_bias": False}),
    "persimmon": ("persimmon", {}),
    "phi": ("phi", {}),
    "phi3": ("phi3", {}),
    "phimoe": ("phimoe", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", {}),
    "qwen2_moe": ("qwen2_moe", {**_SHARED, "mlp_only_layers": [0]}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3_5_moe_text": ("qwen3_5_moe_text", {**_QWEN_HYBRID, **_SHARED}),
    "qwen3_5_text": ("qwen3_5_text", _QWEN_HYBRID),
    "qwen3_moe": ("qwen3_moe", {**_EXPERTS, "head_dim": 8, "mlp_only_layers": [0]}),
    "qwen3_next": ("qwen3_next", {**_QWEN_HYBRID, **_SHARED, "mlp_only_layers": [0]}),
    "qwen4_exp_text": ("qwen4_exp_text", _QWEN_4),
    "recurrent_gemma": (
        "recurrent_gemma",
        {"lru_width": 40, "attention_window_size": 4, "block_types": ["recurrent", "recurrent", "attention"]},
    ),
    "reformer": (
        "reformer",
        {
            "is_decoder": True,
            "attn_layers": ["local", "lsh", "local"],
            "attention_head_size": 8,
            "axial_pos_shape": [8, 16],
            "axial_pos_embds_dim": [12, 20],
            "feed_forward_size": 48,
            "local_attn_chunk_length": 4,
            "lsh_attn_chunk_length": 4,
            "num_buckets": 4,
            "hash_seed": 0,
            "pad_token_id": 0,
            "eos_token_id": 2,
        },
    ),
    "rwkv": ("rwkv", {"attention_hidden_size": 40}),
    "seed_oss": ("seed_oss", {"head_dim": 8, "attention_out_bias": True}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 1, 0]}),
    "solar_open": ("solar_open", {**_ROUTED, "head_dim": 8}),
    "stablelm": ("stablelm", {}),
    "stablelm_parallel": ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": True, "qk_layernorm": True}),
    "starcoder2": ("starcoder2", {}),
    "vaultgemma": ("vaultgemma", {**_WINDOW, "head_dim": 16}),
    "xglm": ("xglm", {"ffn_dim": 48}),
    "xlm": ("xlm", {"causal": True, "pad_token_id": 0}),
    "xlnet": ("xlnet", {"vocab_size": 96, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48}),
    "xlstm": ("xlstm", {"num_heads": 4, "num_blocks": 3, "chunk_size": 4, "ffn_round_up_to_multiple_of": 8}),
    "youtu": ("youtu", _LATENT),
    "zamba": (
        "zamba",
        {
            "num_hidden_layers": 4,
            "num_key_value_heads": 4,
            "layers_block_type": [_LINEAR, "hybrid", _LINEAR, "hybrid"],
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "mamba_d_state": 6,
            "mamba_dt_rank": 5,
        },
    ),
    "zamba2": (
        "zamba2",
        {
            "num_hidden_layers": 4,
            "num_key_value_heads": 4,
            "layers_block_type": [_LINEAR, "hybrid", _LINEAR, "hybrid"],
            "mamba_d_state": 10,
            "n_mamba_heads": 4,
            "chunk_size": 4,
            "adapter_rank": 6,
        },
    ),
    "zamba2_adapters": (
        "zamba2",
        {
            "num_hidden_layers": 5,
            "num_key_value_heads": 4,
            "layers_block_type": [_LINEAR, "hybrid", "hybrid", _LINEAR, "hybrid"],
            "mamba_d_state": 10,
            "n_mamba_heads": 4,
            "chunk_size": 4,
            "num_mem_blocks": 2,
            "use_shared_attention_adapter": True,
            "adapter_rank": 6,
            "use_mem_rope": True,
        },
    ),
    "zaya": (
        "zaya",
        {
            "layer_types": ["hybrid", "hybrid_sliding", "hybrid"],
            "sliding_window": 4,
            "num_experts": 8,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 16,
            "head_dim": 8,
            "router_hidden_size": 12,
        },
    ),
    # Image-text models, which run on text alone.
    "aria": (
        "aria",
        {
            "text_config": {"moe_num_experts": 8, "moe_topk": 2, "moe_num_shared_experts": 1},
            "vision_config": _VISION,
            "projector_patch_to_query_dict": {4: 2},
            "image_token_index": 96,
        },
    ),
    "aya_vision": ("aya_vision", {"text_config": _WINDOW, "vision_config": _VISION}),
    "chameleon": (
        "chameleon",
        {
            "vq_config": {
                "embed_dim": 8,
                "num_embeddings": 4,
                "latent_channels": 8,
                "resolution": 16,
                "base_channels": 32,
                "channel_multiplier": [1],
                "num_res_blocks": 1,
            },
            "vocabulary_map": {"<image>": 95},
        },
    ),
    "cohere2_vision": (
        "cohere2_vision",
        {"text_config": _WINDOW, "vision_config": _VISION, "alignment_intermediate_size": 40},
    ),
    "cohere_compass": (
        "cohere_compass",
        {
            "text_config": {**_WINDOW, "rope_parameters": {_SLIDING: _ROPE, _FULL: _ROPE}},
            "vision_config": _DEEP_TOWER,
        },
    ),
    "cosmos3_edge": (
        "cosmos3_edge",
        {
            "text_config": {"head_dim": 8, "rope_parameters": _MROPE},
            "vision_config": {**_VISION, "num_patches": 16},
            "projector_hidden_size": 40,
            "image_token_id": 96,
            "video_token_id": 97,
            "vision_start_token_id": 98,
            "vision_end_token_id": 99,
        },
    ),
    "cosmos3_omni": (
        "cosmos3_omni",
        {"text_config": {"head_dim": 8, "rope_parameters": _MROPE}, "vision_config": _DEEP_TOWER},
    ),
    "deepseek_ocr2": (
        "deepseek_ocr2",
        {
            "text_config": {**_ROUTED, **_MIXED_MLP, "head_dim": 8},
            "vision_config": {
                "sam_config": {**_SAM, "downsample_channels": [16, 24]},
                "encoder_config": {**COMMON, "hidden_size": 24, "head_dim": 6},
            },
        },
    ),
    "deepseek_vl": ("deepseek_vl", {"text_config": {}, "vision_config": _VISION}),
    "deepseek_vl_hybrid": (
        "deepseek_vl_hybrid",
        {"text_config": {}, "vision_config": _VISION, "high_res_vision_config": _SAM},
    ),
    "dots3_note": (
        "dots3_note",
        {
            "text_config": _DOTS_3,
            "vision_config": {
                **_VISION,
                "moe_intermediate_size": 16,
                "adapter_in_dim": 24,
                "adapter_out_dim": 32,
                "mlp_layer_types": ["dense", "sparse"],
                "num_local_experts": 4,
            },
            "audio_config": {
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 12,
                "downsample_hidden_size": 8,
                "adapter_input_size": 24,
                "adapter_out_dim": 32,
            },
        },
    ),
    "dots3_note_text": ("dots3_note_text", _DOTS_3),
    "emu3": (
        "emu3",
        {
            "text_config": _IDS,
            "vq_config": {"codebook_size": 4, "base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1},
            "vocabulary_map": {"<image>": 91, "<|visual token 000000|>": 92},
        },
    ),
    "ernie4_5_vl_moe": (
        "ernie4_5_vl_moe",
        {
            "text_config": {
                **_MIXED_MLP,
                "moe_num_experts": 8,
                "moe_k": 2,
                "moe_intermediate_size": [16, 12],
                "moe_num_shared_experts": 1,
                "rope_parameters": {**_ROPE, "mrope_section": [1, 1, 2]},
            },
            "vision_config": {**_TOWER, "spatial_merge_size": 2},
        },
    ),
    "exaone4_5": (
        "exaone4_5",
        {
            "text_config": {**_LAST_FULL, "model_type": "exaone4"},
            "vision_config": {**_TOWER, "num_key_value_heads": 2, "fullatt_block_indexes": [1]},
            "image_token_id": 96,
            "video_token_id": 97,
        },
    ),
    "fuyu": ("fuyu", {"text_config": {}, "patch_size": 4}),
    "gemma3": (
        "gemma3",
        {"text_config": {**_WINDOW, "head_dim": 16}, "vision_config": _VISION, "mm_tokens_per_image": 4},
    ),
    "gemma4": (
        "gemma4",
        {
            "text_config": {**_GEMMA_4, "pad_token_id": 0},
            "vision_config": {
                **_VISION,
                "num_key_value_heads": 2,
                "head_dim": 12,
                "position_embedding_size": 16,
            },
        },
    ),
    "gemma4_unified": (
        "gemma4_unified",
        {
            "text_config": {**_LAST_FULL, "head_dim": 8, "global_head_dim": 16, "pad_token_id": 0},
            "vision_config": {"patch_size": 4, "mm_embed_dim": 24, "mm_posemb_size": 16, "output_proj_dims": 24},
            "audio_config": {"audio_embed_dim": 24},
        },
    ),
    "git": ("git", {"vision_config": _VISION}),
    "glm46v": ("glm46v", {"text_config": {"rope_parameters": _MROPE}, "vision_config": {**_TOWER, "image_size": 32}}),
    "glm4v": ("glm4v", {"text_config": {"rope_parameters": _MROPE}, "vision_config": {**_TOWER, "image_size": 32}}),
    "glm4v_moe": (
        "glm4v_moe",
        {
            "text_config": {
                **_ROUTED,
                "first_k_dense_replace": 1,
                "rope_parameters": {**_ROPE, "mrope_section": [1, 1, 0]},
            },
            "vision_config": {**_TOWER, "image_size": 32},
        },
    ),
    "glm5_next": (
        "glm5_next",
        {
            "text_config": {
                **_ROUTED,
                **_LATENT,
                **_MIXED_MLP,
                **_INDEXER,
                "qk_rope_head_dim": 0,
                "head_dim": 0,
                "layer_types": [_LINEAR, _INDEXED, _LINEAR],
                "indexer_types": ["full", "full", "full"],
                "index_kpool": 2,
                "hc_mult": 2,
                "linear_head_dim": 6,
                "linear_num_heads": 4,
            },
            "vision_config": {**_TOWER, "image_size": 32, "projection_intermediate_size": 40},
        },
    ),
    "glm_ocr": ("glm_ocr", {"text_config": {"rope_parameters": _MROPE}, "vision_config": {**_TOWER, "image_size": 32}}),
    "glmga": ("glmga", {"text_config": {"rope_parameters": _MROPE}, "vision_config": {**_TOWER, "image_size": 32}}),
    "got_ocr2": ("got_ocr2", {"text_config": {}, "vision_config": _SAM}),
    "granite4_vision": (
        "granite4_vision",
        {
            "text_config": {"residual_multiplier": 0.22},
            "vision_config": {**_VISION, "hidden_size": 64},
            "qformer_config": {
                "hidden_size": 64,
                "intermediate_size": 40,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "encoder_hidden_size": 64,
                "cross_attention_frequency": 1,
            },
            "downsample_rate": "1/2",
            "deepstack_layer_map": [[-1, 0]],
            "spatial_target_layers": [0, 1, 2, 2],
        },
    ),
    "granite_docling": (
        "granite_docling",
        {
            "text_config": {"residual_multiplier": 0.263},
            "vision_config": {**_VISION, "out_hidden_size": 32, "scale_factor": 2, "deepstack_visual_indexes": [0]},
        },
    ),
    "hunyuan_vl": (
        "hunyuan_vl",
        {
            "text_config": {"head_dim": 8, "rope_parameters": {**_ROPE, "mrope_section": [1, 1, 1, 1]}},
            "vision_config": {
                **_VISION,
                "num_key_value_heads": 2,
                "out_hidden_size": 32,
                "text_hidden_size": 32,
                "max_image_size": 32,
            },
        },
    ),
    "hyperclovax_vision_v2": (
        "hyperclovax_vision_v2",
        {
            "text_config": {"head_dim": 8, "residual_multiplier": 0.5},
            "vision_config": {**_TOWER, "fullatt_block_indexes": [1]},
        },
    ),
    "idefics2": (
        "idefics2",
        {
            "text_config": {"head_dim": 8},
            "vision_config": _VISION,
            "perceiver_config": {
                "hidden_size": 32,
                "resampler_n_latents": 4,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 6,
                "num_key_value_heads": 1,
            },
        },
    ),
    "idefics3": ("idefics3", {"text_config": {}, "vision_config": _VISION}),
    "inkling2": (
        "inkling2",
        {
            "text_config": _INKLING_2,
            "vision_config": {**_VISION, "posemb_grid_size": 4, "projection_hidden_dim": 40, "text_hidden_size": 32},
        },
    ),
    "inkling_mm_model": (
        "inkling_mm_model",
        {
            "text_config": _INKLING_1,
            "audio_config": {"n_mel_bins": 4, "mel_vocab_size": 8, "text_hidden_size": 32},
            "vision_config": {"hidden_size": 24, "n_layers": 1, "num_attention_heads": 2, "text_hidden_size": 32},
        },
    ),
    "internvl": ("internvl", {"text_config": {}, "vision_config": _VISION}),
    "janus": (
        "janus",
        {
            "text_config": {},
            "vision_config": {**_VISION, "projection_dim": 32, "num_image_tokens": 4},
            "vq_config": {
                "embed_dim": 8,
                "num_embeddings": 4,
                "latent_channels": 8,
                "base_channels": 32,
                "channel_multiplier": [1],
                "num_res_blocks": 1,
                "num_patches": 4,
                "projection_dim": 32,
                "image_token_embed_dim": 32,
            },
        },
    ),
    "kimi_k25": (
        "kimi_k25",
        {
            "text_config": {**_ROUTED, **_LATENT, "first_k_dense_replace": 1},
            "vision_config": {**_VISION, "pos_emb_height": 4, "pos_emb_width": 4, "pos_emb_time": 2},
            "projection_hidden_size": 24,
        },
    ),
    "kosmos-2.5": (
        "kosmos-2.5",
        {
            "text_config": {"embed_dim": 32, "layers": 2, "ffn_dim": 48, "attention_heads": 4, **_IDS},
            "vision_config": {**_VISION, "patch_embed_hidden_size": 24, "head_dim": 12, "max_num_patches": 16},
            "latent_query_num": 4,
        },
    ),
    "lfm2_vl": (
        "lfm2_vl",
        {
            "text_config": {"layer_types": ["conv", _FULL, "conv"], "block_auto_adjust_ff_dim": False},
            "vision_config": {**_VISION, "num_patches": 4},
            "projector_hidden_size": 40,
        },
    ),
    "lfm3_vl": (
        "lfm3_vl",
        {
            "text_config": {"layer_types": ["conv", _FULL, _SLIDING], "sliding_window": 4, "head_dim": 8},
            "vision_config": {**_VISION, "num_key_value_heads": 1, "layer_types": ["conv", _FULL]},
            "projector_hidden_size": 40,
        },
    ),
    "lighton_ocr": ("lighton_ocr", {"text_config": {"head_dim": 8}, "vision_config": _VISION}),
    "llama4": (
        "llama4",
        {
            "text_config": _LLAMA_4,
            "vision_config": {
                **_VISION,
                "intermediate_size": 96,
                "vision_output_dim": 24,
                "projector_input_dim": 24,
                "projector_output_dim": 24,
            },
        },
    ),
    "llava": ("llava", _LLAVA),
    "llava_mixtral": ("llava", {**_LLAVA, "text_config": {"model_type": "mixtral"}}),
    "llava_next": ("llava_next", _LLAVA),
    "llava_next_video": ("llava_next_video", {**_LLAVA, "video_token_index": 97}),
    "llava_onevision": ("llava_onevision", _LLAVA),
    "minicpmv4_6": (
        "minicpmv4_6",
        {"text_config": _QWEN_HYBRID, "vision_config": {**_VISION, "insert_layer_id": 0}, "insert_layer_id": 0},
    ),
    "minicpmv4_7": (
        "minicpmv4_7",
        {"text_config": _QWEN_HYBRID, "vision_config": {**_VISION, "insert_layer_id": 0}, "insert_layer_id": 0},
    ),
    "minicpm_ocr": (
        "minicpm_ocr",
        {"text_config": _QWEN_HYBRID, "vision_config": {**_VISION, "insert_layer_id": 0}, "insert_layer_id": 0},
    ),
    "minimax_m3_vl": (
        "minimax_m3_vl",
        {
            "text_config": _MINIMAX_M3,
            "vision_config": _VISION,
            "projector_hidden_size": 40,
        },
    ),
    "mistral3": (
        "mistral3",
        {"text_config": {"head_dim": 8}, "vision_config": _VISION, "image_token_index": 96},
    ),
    "mistral4": (
        "mistral4",
        {
            **_ROUTED,
            **_LATENT,
            "first_k_dense_replace": 1,
            "rope_parameters": {**_YARN, "partial_rotary_factor": 1 / 3, "max_position_embeddings": 128},
        },
    ),
    "mistral_large4": (
        "mistral_large4",
        {
            "text_config": {
                **_ROUTED,
                **_LATENT,
                **_MIXED_MLP,
                **_INDEXER,
                "rope_parameters": _ROPE,
                "no_rope_layers": [1, 1, 0],
            },
            "vision_config": _VISION,
            "image_token_index": 96,
        },
    ),
    "mllama": (
        "mllama",
        {
            "text_config": {"cross_attention_layers": [1], **_IDS},
            "vision_config": {
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 2,
                "num_global_layers": 1,
                "attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
                "vision_output_dim": 48,
                "intermediate_layers_indices": [0],
            },
        },
    ),
    "molmo2": ("molmo2", {**_MOLMO_2, "text_config": {"head_dim": 8, "additional_vocab_size": 8}}),
    "molmo2_norm_after": (
        "molmo2",
        {**_MOLMO_2, "text_config": {"head_dim": 8, "additional_vocab_size": 8, "norm_after": True}},
    ),
    "moss_transcribe_diarize": (
        "moss_transcribe_diarize",
        {
            "text_config": {"head_dim": 8},
            "audio_config": {
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_mel_bins": 16,
                "max_source_positions": 16,
            },
        },
    ),
    "muse_glimmer": (
        "muse_glimmer",
        {
            "text_config": {**_WINDOW, "head_dim": 8, "layer_rope_theta": [10000.0, 0, 10000.0]},
            "vision_config": {**_VISION, "pos_emb_height": 4, "pos_emb_width": 4},
            "out_hidden_size": 96,
            "projector_hidden_size": 40,
        },
    ),
    "muse_spark": (
        "muse_spark",
        {
            "text_config": {
                **_WINDOW,
                **_MIXED_MLP,
                "head_dim": 8,
                "layer_rope_theta": [10000.0, 0, 10000.0],
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 16,
                "moe_hidden_size": 20,
            },
            "vision_config": {**_VISION, "pos_emb_height": 4, "pos_emb_width": 4},
            "audio_config": {
                "patch_sizes": [4, 2],
                "hidden_sizes": [8, 16],
                "depths": [1, 1],
                "num_hidden_layers": 2,
                "out_hidden_size": 32,
            },
            "out_hidden_size": 96,
            "projector_hidden_size": 40,
        },
    ),
    "nemotron_h_omni": (
        "nemotron_h_omni",
        {
            "text_config": _NEMOTRON_H,
            "vision_config": {**_VISION, "mlp_ratio": 2.0, "max_img_size": 32, "video_temporal_patch_size": 2},
            "vision_hidden_size": 24,
            "projector_hidden_size": 40,
        },
    ),
    "ovis2": (
        "ovis2",
        {
            "text_config": {},
            "vision_config": {**_VISION, "vocab_size": 24},
            "hidden_size": 24,
            "image_token_id": 96,
            "visual_indicator_token_ids": [97, 98, 99, 100, 101],
        },
    ),
    "paddleocr_vl": (
        "paddleocr_vl",
        {"text_config": {"head_dim": 8, "rope_parameters": _MROPE}, "vision_config": _VISION},
    ),
    "paligemma": (
        "paligemma",
        {"text_config": {"head_dim": 16}, "vision_config": _VISION, "projection_dim": 32, "hidden_size": 32},
    ),
    "phi4_multimodal": (
        "phi4_multimodal",
        {
            "vision_config": {**_VISION, "crop_size": 16},
            "audio_config": {
                "hidden_size": 24,
                "intermediate_size": 40,
                "num_blocks": 1,
                "num_attention_heads": 2,
                "ext_pw_out_channel": 24,
                "depthwise_separable_out_channel": 24,
                "nemo_conv_channels": 8,
                "input_size": 16,
            },
        },
    ),
    "pp_chart2table": ("pp_chart2table", {"text_config": {}, "vision_config": _SAM}),
    "qianfan_ocr": ("qianfan_ocr", {"text_config": {"head_dim": 8}, "vision_config": _VISION}),
    "qwen2_5_omni_thinker": (
        "qwen2_5_omni_thinker",
        {
            "text_config": {"rope_parameters": _MROPE},
            "vision_config": {**_TOWER, "fullatt_block_indexes": [1]},
            "audio_config": {
                "d_model": 24,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 40,
                "num_mel_bins": 16,
                "output_dim": 32,
                "max_source_positions": 16,
            },
        },
    ),
    "qwen2_5_vl": (
        "qwen2_5_vl",
        {"text_config": {"rope_parameters": _MROPE}, "vision_config": {**_TOWER, "fullatt_block_indexes": [1]}},
    ),
    "qwen2_vl": (
        "qwen2_vl",
        {
            "text_config": {"rope_parameters": _MROPE},
            "vision_config": {"embed_dim": 24, "hidden_size": 32, "depth": 2, "num_heads": 2, "patch_size": 8},
        },
    ),
    "qwen3_5": ("qwen3_5", {"text_config": _QWEN_HYBRID, "vision_config": {**_TOWER, "num_position_embeddings": 16}}),
    "qwen3_5_moe": (
        "qwen3_5_moe",
        {"text_config": {**_QWEN_HYBRID, **_SHARED}, "vision_config": {**_TOWER, "num_position_embeddings": 16}},
    ),
    "qwen3_omni_moe_thinker": (
        "qwen3_omni_moe_thinker",
        {
            "text_config": {**_EXPERTS, "mlp_only_layers": [0], "rope_parameters": _MROPE},
            "vision_config": _DEEP_TOWER,
            "audio_config": {
                "d_model": 24,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 40,
                "num_mel_bins": 16,
                "output_dim": 32,
                "max_source_positions": 16,
                "downsample_hidden_size": 8,
            },
        },
    ),
    "qwen3_vl": (
        "qwen3_vl",
        {"text_config": {"head_dim": 8, "rope_parameters": _MROPE}, "vision_config": _DEEP_TOWER},
    ),
    "qwen3_vl_moe": (
        "qwen3_vl_moe",
        {
            "text_config": {**_EXPERTS, "mlp_only_layers": [0], "head_dim": 8, "rope_parameters": _MROPE},
            "vision_config": _DEEP_TOWER,
        },
    ),
    "qwen4_exp": (
        "qwen4_exp",
        {"text_config": _QWEN_4, "vision_config": {**_TOWER, "num_position_embeddings": 16}},
    ),
    "shieldgemma2": (
        "shieldgemma2",
        {"text_config": {**_WINDOW, "head_dim": 16}, "vision_config": _VISION, "mm_tokens_per_image": 4},
    ),
    "smolvlm": ("smolvlm", {"text_config": {}, "vision_config": _VISION}),
    "step3p7": (
        "step3p7",
        {
            "text_config": {
                **_WINDOW,
                **_MIXED_MLP,
                "head_dim": 8,
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 16,
                "share_expert_dim": 24,
                **_IDS,
                "num_sliding_attention_heads": 4,
                "query_pre_attn_scalar": 8,
                "rope_parameters": {_SLIDING: _ROPE, _FULL: _ROPE},
            },
            "vision_config": _VISION,
        },
    ),
    "unlimited_ocr": (
        "unlimited_ocr",
        {
            "text_config": {
                **_ROUTED,
                **_MIXED_MLP,
                "head_dim": 8,
                "num_key_value_heads": 4,
                "layer_types": ["reference_sliding_attention"] * 3,
                "sliding_window": 4,
            },
            "vision_config": {"sam_config": {**_SAM, "downsample_channels": [16, 24]}, "encoder_config": _VISION},
        },
    ),
    "video_llama_3": ("video_llama_3", {"text_config": {}, "vision_config": _VISION}),
    "video_llava": ("video_llava", {**_LLAVA, "video_token_index": 97}),
    "vipllava": ("vipllava", {**_LLAVA, "vision_feature_layer": [-1, -2]}),
}

_ENCODER = "an encoder, a language model only by a flag"
_DECODER = "the decoder of a model that has an encoder"
_PAIR = "an encoder and a decoder"
_IMAGE = "does not run without an image"
_TIMM = "its vision tower needs timm, which is not installed"
_DRAFTER = "a drafter, which reads the states of another model"
OUT: Mapping[str, str] = {  # model type: why it is left out
    "bart": _DECODER,
    "bert": _ENCODER,
    "bert-generation": _ENCODER,
    "big_bird": _ENCODER,
    "bigbird_pegasus": _DECODER,
    "blenderbot": _DECODER,
    "blenderbot-small": _DECODER,
    "blip": _IMAGE,
    "blip-2": _IMAGE,
    "camembert": _ENCODER,
    "data2vec-text": _ENCODER,
    "diffusion_gemma": "an encoder and a denoiser of blocks",
    "electra": _ENCODER,
    "ernie": _ENCODER,
    "evolla": "reads proteins; no auto class builds it",
    "fast_vlm": _TIMM,
    "florence2": _PAIR,
    "gemma3n": _TIMM,
    "gemma4_assistant": _DRAFTER,
    "gemma4_unified_assistant": _DRAFTER,
    "idefics": _IMAGE,
    "instructblip": _IMAGE,
    "instructblipvideo": _IMAGE,
    "kosmos-2": _IMAGE,
    "marian": _DECODER,
    "mbart": _DECODER,
    "megatron-bert": _ENCODER,
    "musicgen": _DECODER,
    "musicgen_melody": _DECODER,
    "mvp": _DECODER,
    "pegasus": _DECODER,
    "perception_lm": _TIMM,
    "pi0": "a policy of robots, which reads their state",
    "pix2struct": _PAIR,
    "plbart": _DECODER,
    "pp_formulanet": _PAIR,
    "prophetnet": _DECODER,
    "rembert": _ENCODER,
    "roberta": _ENCODER,
    "roberta-prelayernorm": _ENCODER,
    "roc_bert": _ENCODER,
    "roformer": _ENCODER,
    "t5gemma2": _PAIR,
    "trocr": _DECODER,
    "udop": _PAIR,
    "vision-encoder-decoder": _PAIR,
    "whisper": _DECODER,
    "xlm-roberta": _ENCODER,
    "xlm-roberta-xl": _ENCODER,
    "xmod": _ENCODER,
}

_BARE = {"blt", "xlnet"}  # no name of COMMON reaches their configs


def zoo_config(name: str) -> PreTrainedConfig:
    """The tiny config of that name."""
    from transformers import AutoConfig

    kind, changes = copy.deepcopy(ZOO[name])  # a config changes what it is given
    if "text_config" in changes:
        changes = {**changes, "text_config": {**COMMON, **changes["text_config"]}}
    elif kind not in _BARE:
        return tiny_config(kind, **changes)
    config: PreTrainedConfig = AutoConfig.for_model(kind, **changes)
    return config


def zoo_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A full model of that config, every parameter random and of a size that matters, in evaluation mode."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = zoo_config(name)
    of_text = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    auto: Any = AutoModelForCausalLM if of_text else AutoModelForImageTextToText
    model = auto.from_config(config, attn_implementation="eager", experts_implementation="eager")
    return randomised(model, dtype, seed)
