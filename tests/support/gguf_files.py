"""A GGUF file with a small Llama in it: byte-level tokenizer, chat template, quantized and plain tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quantize
from transformers.convert_slow_tokenizer import bytes_to_unicode

LAYERS, WIDTH, INNER, HEADS, KV_HEADS = 2, 64, 96, 2, 1
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *bytes_to_unicode().values(), "he", "ll"]
Q4_1 = GGMLQuantizationType.Q4_1


def tensors() -> dict[str, np.ndarray]:
    """Every tensor of the model by its name in the file, in float32."""
    key_width = WIDTH // HEADS * KV_HEADS
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        for name, shape in {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (key_width, WIDTH),
            "attn_v": (key_width, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
        }.items():
            shapes[f"blk.{layer}.{name}"] = shape
    random = np.random.default_rng(0)
    return {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def quantized(tensor: np.ndarray) -> np.ndarray:
    """The blocks of a tensor in Q4_1."""
    return quantize(tensor, Q4_1)


def write_gguf(path: Path, *, without: str | None = None, architecture: str = "llama", parts: int = 1) -> Path:
    """Write the file; matrices of attention and MLP in Q4_1, the rest in float32.

    Args:
        path: the file.
        without: name of a tensor to leave out.
        architecture: the architecture that the file claims to hold.
        parts: the number of files that the model claims to be in.
    """
    writer = GGUFWriter(path, architecture)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    writer.add_name("Tiny Llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in tensors().items():
        if name == without:
            continue
        if name.startswith("blk.") and tensor.ndim == 2:
            writer.add_tensor(name, quantized(tensor), raw_dtype=Q4_1)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
