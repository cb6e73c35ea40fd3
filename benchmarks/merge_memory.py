"""Peak memory and time of `merge_model` on a synthetic 2 GB checkpoint, against the interpreter with torch and `cp`.

    python -m benchmarks.merge_memory [--layers 4] [--folder FOLDER]

The checkpoint has the shape of a 4-layer Llama (hidden 4096, MLP 14336), bfloat16, in as many shards as layers.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
import torch
from safetensors.torch import save_file
from tabulate import tabulate
from torch import Tensor

from unwrite.artifacts import Base, Kernel, Recipe, Trial, TrialParameters, as_json
from unwrite.core.directions import difference_direction
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.params import NormPreservation
from unwrite.recipe import build_edits

ROOT = Path(__file__).parents[1]
HIDDEN, MLP, VOCABULARY, HEADS, KV_HEADS, HEAD_DIM = 4096, 14336, 32000, 32, 8, 128
REPEATS = 2


@click.command()
@click.option("--layers", default=4, show_default=True, help="About 0.44 GB each.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work; a temporary folder by default.")
def main(layers: int, folder: Path | None) -> None:
    """Builds the checkpoint, merges an edit of every writer into it, prints memory and time."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        _write_checkpoint(work / "base", layers)
        _write_project(work)
        _run("stages.pin_model", work=work)
        size = sum(path.stat().st_size for path in (work / "base").iterdir())
        floor, _ = _run(work=work)
        print(f"checkpoint {size / 1e9:.2f} GB, {layers} shards; interpreter with torch {floor:.0f} MB")
        rows = [["cp -r", "", "", *_seconds([_copy(work) for _ in range(REPEATS)])]]
        for mode in get_args(NormPreservation):
            _write_recipe(work, mode)
            runs = [_run("stages.merge_model", work=work) for _ in range(REPEATS)]
            peak = max(memory for memory, _ in runs)
            rows.append([f"merge_model, {mode}", f"{peak:.0f}", f"{peak - floor:.0f}", *_seconds([s for _, s in runs])])
        print(tabulate(rows, headers=["", "peak MB", "above torch MB", "median s", "min–max s"], disable_numparse=True))


def _seconds(times: Sequence[float]) -> list[str]:
    return [f"{statistics.median(times):.1f}", f"{min(times):.1f}–{max(times):.1f}"]


def _copy(work: Path) -> float:
    start = time.perf_counter()
    subprocess.run(["cp", "-r", "base", "copy"], cwd=work, check=True)
    os.sync()
    elapsed = time.perf_counter() - start
    shutil.rmtree(work / "copy")
    return elapsed


# ru_maxrss would count the parent's memory at the fork as well; the high-water mark in /proc is the new program's own.
_MEASURED = """
import atexit, pathlib, runpy, sys
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(*[line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line]))
import torch
if len(sys.argv) > 1:
    runpy.run_module(sys.argv[1], run_name="__main__")
"""


def _run(*module: str, work: Path) -> tuple[float, float]:
    """Runs a module (none: the interpreter with torch alone); its peak resident memory in MB and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-c", _MEASURED, *module]
    done = subprocess.run(
        command, cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{module} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1]) / 1e3, time.perf_counter() - start


def _write_checkpoint(folder: Path, layers: int) -> None:
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        weight: Tensor = torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        return weight.to(torch.bfloat16)

    weight_map: dict[str, str] = {}
    for layer in range(layers):
        prefix, width = f"model.layers.{layer}", HEADS * HEAD_DIM
        tensors = {
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
        shard = f"model-{layer + 1:05d}-of-{layers:05d}.safetensors"
        save_file(tensors, folder / shard)
        weight_map |= dict.fromkeys(tensors, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
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


def _write_project(work: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("source: demo/model", "source: base"))


def _write_recipe(work: Path, mode: NormPreservation) -> None:
    base = Base.model_validate_json((work / "artifacts/base.json").read_bytes())
    generator = torch.Generator().manual_seed(1)
    target, baseline = (
        torch.randn(1, base.layers + 1, base.hidden_size, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    tensors = {"directions": difference_direction(target, baseline), "target_mean": target, "baseline_mean": baseline}
    write_tensors(work / "artifacts/directions.safetensors", {name: t.float() for name, t in tensors.items()}, {})
    kernel = Kernel(max_weight=1, max_weight_position=0, min_weight=1, min_weight_distance=base.layers)
    parameters = TrialParameters(
        direction_scope="per_layer", direction_index=1, position=0, attention=kernel, mlp=kernel
    )
    recipe = Recipe(
        trial=Trial(number=0, behaviour_rate=0, divergence=0, parameters=parameters),
        selection="every writer, for the benchmark",
        norm_preservation=mode,
        edits=build_edits(
            parameters, base.writers, spans=(), biprojected=False, edit_bias=True, post_norm="compensate"
        ),
    )
    write_json(work / "artifacts/edit.json", as_json(recipe))


if __name__ == "__main__":
    main()
