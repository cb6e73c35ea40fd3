"""Compare `merge_model` on a synthetic checkpoint with `cp`, and with PEFT's `merge_and_unload` and saving.

The checkpoint has the shape of a Llama of hidden size 2048, bfloat16, in four shards. Every way ends when its output is
on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.adapter import with_adapter
from benchmarks.comparison import alternated, peak_memory, ratio, spread, table
from benchmarks.projects import is_demo
from tests.support.samples import record_upstream
from unwrite.core.directions import difference_direction, orthogonalize
from unwrite.editing.recipe import make_recipe
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.models.loading import load_model
from unwrite.schema.artifacts import EditSettings, Kernel, TrialParameters, as_json, read_base
from unwrite.schema.params import load_params
from unwrite.schema.paths import DIRECTIONS, MODEL, RECIPE
from unwrite.stages.merge_model import merge_model
from unwrite.stages.pin_model import pin_model
from unwrite.terms import NormPreservation

HIDDEN, MLP, VOCABULARY, HEADS, KV_HEADS, HEAD_DIM = 2048, 7168, 16000, 16, 4, 128
GIGABYTES_PER_LAYER = 2 * (HIDDEN * HEAD_DIM * 2 * (HEADS + KV_HEADS) + 3 * HIDDEN * MLP) / 1e9
SHARDS = 4
MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
PLAIN = Path("plain")


def report(repeats: int, gigabytes: float) -> str:
    """Return tables of time, memory and growth."""
    torch_alone = peak_memory(_nothing)
    ways: dict[str, Callable[[], object]] = {"cp -r": _copy, "PEFT": _plain, "ours, rows": partial(ours, "rows")}
    tables, growth = [], []
    for factor in (0.5, 1, 2) if is_demo() else (1,):
        with checkpoint_project(factor * gigabytes) as size:
            _copy()  # from here on, the files are in the page cache
            clear()
            seconds = alternated(ways, repeats if factor == 1 else 1, between=clear)
            peaks = {name: peak_memory(ways[name]) for name in ("PEFT", "ours, rows")}
            growth.append([f"{size / 1e9:.2f}", *(f"{median(taken):.2f}" for taken in seconds.values())])
            growth[-1] += [f"{peak:.0f}" for peak in peaks.values()]
            if factor == 1:
                for mode in (mode for mode in MODES if mode != "rows"):
                    others = {f"ours, {mode}": partial(ours, mode)}
                    peaks |= {name: peak_memory(way) for name, way in others.items()}
                    clear()
                    seconds |= alternated(others, repeats, between=clear)
                tables.append(
                    f"Checkpoint of {size / 1e9:.2f} GB, every residual writer edited. PEFT: loading, "
                    "`merge_and_unload`, `save_pretrained`. All end when their output is on disk. Ours also checks the "
                    "sums of the base's files and computes those of the release's. Torch and the "
                    f"imports of the stage take {torch_alone:.0f} MB."
                )
                tables.append(_table(seconds, peaks, torch_alone))
    headers = ["GB", *(f"{name}, s" for name in ways), *(f"{name}, peak MB" for name in ("PEFT", "ours, rows"))]
    if len(growth) > 1:
        tables += ["Growth (each measured once, except for the size above):", table(headers, growth)]
    return "\n\n".join(tables)


def _table(seconds: Mapping[str, Sequence[float]], peaks: Mapping[str, float], torch_alone: float) -> str:
    copy, plain = seconds["cp -r"], seconds["PEFT"]
    rows = [
        [
            name,
            spread(taken),
            ratio(taken, copy[: len(taken)]),
            ratio(plain[: len(taken)], taken),
            *((f"{peaks[name]:.0f}", f"{peaks[name] - torch_alone:.0f}") if name in peaks else ("", "")),
        ]
        for name, taken in seconds.items()
    ]
    return table(["", "s", "this ÷ cp", "PEFT ÷ this", "peak MB", "above torch MB"], rows)


def _nothing() -> None:
    """Do nothing, to measure what the imports alone cost."""


def ours(mode: NormPreservation) -> None:
    """Merge with every residual writer edited, as the stage does."""
    _write_recipe(mode)
    record_upstream()
    with redirect_stderr(StringIO()):
        merge_model(load_params())
    os.sync()


def _plain() -> None:
    base = read_base()
    model = load_model(Path("base"), "bfloat16", torch.device("cpu"))
    adapted: Any = with_adapter(model, [writer.module for writer in base.writers], random=True)
    adapted.merge_and_unload().save_pretrained(PLAIN)
    os.sync()


def _copy() -> None:
    subprocess.run(["cp", "-r", "base", "copy"], check=True)
    os.sync()


def clear() -> None:
    """Remove the files that the ways wrote."""
    for folder in (MODEL, PLAIN, Path("copy")):
        shutil.rmtree(folder, ignore_errors=True)
    os.sync()


@contextmanager
def checkpoint_project(gigabytes: float) -> Iterator[int]:
    """Work in a folder with a pinned checkpoint and random directions; yield the checkpoint's size in bytes.

    It is a copy of the project's own model, or, in the demo, one of about this size with random weights.
    """
    params, source = Path("params.yaml").read_text(), read_base().source
    own = None if is_demo() else Path(source).resolve()
    with tempfile.TemporaryDirectory() as work, chdir(work):
        Path("params.yaml").write_text(params.replace(f"source: {source}", "source: base"))
        if own is None:
            embedding = 2 * VOCABULARY * HIDDEN / 1e9
            _write_checkpoint(Path("base"), max(1, round((gigabytes - embedding) / GIGABYTES_PER_LAYER)))
        else:
            shutil.copytree(own, "base")
        with redirect_stderr(StringIO()):
            pin_model(load_params())
        _write_directions()
        yield sum(path.stat().st_size for path in Path("base").iterdir())


def _write_checkpoint(folder: Path, layers: int) -> None:
    """Write the layers in order, spread as evenly as possible over the shards."""
    folder.mkdir()
    shards = min(SHARDS, layers)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        weight: Tensor = torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        return weight.to(torch.bfloat16)

    weight_map: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for layer in range(layers):
        prefix, width = f"model.layers.{layer}", HEADS * HEAD_DIM
        tensors |= {
            f"{prefix}.self_attn.q_proj.weight": random(width, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": random(KV_HEADS * HEAD_DIM, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": random(KV_HEADS * HEAD_DIM, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": random(HIDDEN, width),
            f"{prefix}.mlp.gate_proj.weight": random(MLP, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": random(MLP, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": random(HIDDEN, MLP),
            f"{prefix}.input_layernorm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
            f"{prefix}.post_attention_layernorm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16),
        }
        if layer == 0:
            tensors["model.embed_tokens.weight"] = random(VOCABULARY, HIDDEN)
            tensors["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        number = layer * shards // layers
        if number != (layer + 1) * shards // layers:
            shard = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            save_file(tensors, folder / shard, {"format": "pt"})
            weight_map |= dict.fromkeys(tensors, shard)
            tensors = {}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": HIDDEN,
        "intermediate_size": MLP,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))


def _write_directions() -> None:
    base = read_base()
    generator = torch.Generator().manual_seed(1)
    target, baseline = (
        torch.randn(1, base.layers + 1, base.hidden_size, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    directions = orthogonalize(difference_direction(target, baseline), baseline)
    tensors = {"directions": directions, "target_mean": target, "baseline_mean": baseline}
    write_tensors(DIRECTIONS, {name: t.float() for name, t in tensors.items()}, {})


def _write_recipe(mode: NormPreservation) -> None:
    base = read_base()
    kernel = Kernel(max_weight=1, max_weight_position=0, min_weight=1, min_weight_distance=base.layers)
    parameters = TrialParameters(
        direction_scope="per_layer", direction_index=1, position=0, attention=kernel, mlp=kernel
    )
    shared = EditSettings(
        norm_preservation=mode, edit_bias=True, post_norm="compensate", orthogonalize="projected", spans=[]
    )
    recipe = make_recipe(parameters, base.writers, shared, selection="every writer, for the benchmark")
    write_json(RECIPE, as_json(recipe))
    record_upstream()
