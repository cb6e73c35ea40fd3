"""Make copies of the demo project to measure growth: with fewer prompts, with a deeper model."""

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

from unwrite.files.tensors import read_metadata, read_tensors, write_tensors
from unwrite.pipeline.tokens import read_tokens, write_tokens
from unwrite.schema.artifacts import read_base
from unwrite.schema.params import load_params
from unwrite.schema.paths import BASE, DIRECTIONS, TOKENS, TRIALS
from unwrite.stages.pin_model import pin_model
from unwrite.terms import SETS

PARAMS = Path("params.yaml")


def is_demo() -> bool:
    """Return whether the project in the current folder is the demo, and not a real model's."""
    return read_base().source == "demo/model"


@contextmanager
def project_copy() -> Iterator[Path]:
    """Work in a folder with the inputs of the search while open; yield the project's own folder."""
    project = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name in ("demo", "prompts"):
            Path(name).symlink_to(project / name)
        shutil.copy(project / PARAMS, PARAMS)
        shutil.copytree(project / TOKENS, TOKENS)
        for file in (BASE, DIRECTIONS, TRIALS):
            shutil.copy(project / file, file)
        yield project


@contextmanager
def fewer_prompts(count: int) -> Iterator[None]:
    """Work in a copy with only the first validation prompts of each set while open."""
    with project_copy():
        for name in SETS:
            write_tokens(TOKENS, name, "validation", read_tokens(name, "validation")[:count])
        yield


@contextmanager
def deeper_demo() -> Iterator[None]:
    """Work with a demo of twice as many layers while open: the new writers are nearly zero, so responses stay alike."""
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
