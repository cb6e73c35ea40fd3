"""Copies of the demo's project to measure how things grow: with fewer prompts, with a deeper model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from stages.pin_model import pin_model
from unwrite.files.tensors import read_metadata, read_tensors, write_tensors
from unwrite.pipeline.tokens import read_tokens, write_tokens
from unwrite.schema.params import load_params
from unwrite.schema.paths import BASE, DIRECTIONS, TOKENS, TRIALS
from unwrite.terms import SETS

PARAMS = Path("params.yaml")


@contextmanager
def project_copy() -> Iterator[Path]:
    """A folder with what the search reads, to work in while open; the project's own folder."""
    project = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ("demo", "prompts"):
            Path(name).symlink_to(project / name)
        shutil.copy(project / PARAMS, PARAMS)
        TOKENS.mkdir(parents=True)
        files = [BASE, DIRECTIONS, TRIALS, *(TOKENS / f"{name}.validation.jsonl" for name in SETS)]
        for file in files:
            shutil.copy(project / file, file)
        yield project


@contextmanager
def fewer_prompts(count: int) -> Iterator[None]:
    """The first of each set's validation prompts."""
    with project_copy():
        for name in SETS:
            write_tokens(TOKENS, name, "validation", read_tokens(name, "validation")[:count])
        yield


@contextmanager
def deeper_demo() -> Iterator[None]:
    """The demo with as many layers again, whose writers are nearly zero: it says the same and costs twice as much."""
    with project_copy() as project:
        shutil.copytree(project / "demo/model", "model")
        config = json.loads(Path("model/config.json").read_text())
        layers = config["num_hidden_layers"]
        config |= {"num_hidden_layers": 2 * layers, "layer_types": config["layer_types"] * 2}
        Path("model/config.json").write_text(json.dumps(config))
        tensors = load_file("model/model.safetensors")
        for name, tensor in list(tensors.items()):
            parts = name.split(".")
            if parts[1] == "layers":
                parts[2] = str(int(parts[2]) + layers)
                writes = parts[-2] in {"o_proj", "down_proj"}
                tensors[".".join(parts)] = 1e-3 * tensor if writes else tensor.clone()
        save_file(tensors, "model/model.safetensors", {"format": "pt"})
        PARAMS.write_text(PARAMS.read_text().replace("source: demo/model", "source: model"))
        with redirect_stderr(StringIO()):
            pin_model(load_params())
        directions = {
            name: torch.cat([tensor, tensor[:, -1:].expand(-1, layers, -1)], dim=1).contiguous()
            for name, tensor in read_tensors(DIRECTIONS, "compute_directions").items()
        }
        write_tensors(DIRECTIONS, directions, read_metadata(DIRECTIONS, "compute_directions"))
        yield
