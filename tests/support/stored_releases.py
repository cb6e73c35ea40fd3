"""The releases of tests/data/releases: one for each kind of model and norm mode, made once for each released version.

    python -m tests.support.stored_releases VERSION

writes tests/data/releases/VERSION with the installed unwrite, by the functions that the pipeline calls. Run it when a
version is released, and commit what it writes. Never run it for an earlier version: if a stored release no longer
verifies, the code is wrong, not the data. A release is stored without the files that it shares with its base, byte for
byte; `copy_release` puts them together again.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, get_args

import torch

from tests.support.tiny import tiny_config, tiny_model, tiny_tokenizer
from unwrite.core.direction_set import compute_directions
from unwrite.editing.recipe import make_recipe
from unwrite.pipeline.pinning import pin_base
from unwrite.release.save import save_edited_checkpoint
from unwrite.schema.artifacts import EditSettings, Kernel, TrialParameters
from unwrite.terms import NormPreservation

STORED = Path(__file__).parents[1] / "data/releases"
SIZES: Mapping[str, Any] = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
BASES: Mapping[str, tuple[str, torch.dtype, Mapping[str, Any]]] = {  # name: (model type, dtype, changes to the config)
    "dense": ("llama", torch.bfloat16, {}),
    "experts": ("mixtral", torch.float16, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "bias": ("gpt2", torch.float32, {"n_inner": 24}),
    "post_norm": ("gemma2", torch.bfloat16, {"head_dim": 4, "layer_types": ["sliding_attention", "full_attention"]}),
}
MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
PARAMETERS = TrialParameters(
    direction_scope="global",
    direction_index=1.25,  # between two residual indices
    position=1,
    attention=Kernel(max_weight=1.1, max_weight_position=0.75, min_weight=0.3, min_weight_distance=2.0),
    mlp=Kernel(max_weight=0.8, max_weight_position=1.0, min_weight=0.2, min_weight_distance=1.5),
)


class StoredRelease(NamedTuple):
    """A stored release: the version that made it, the kind of its base, the norm mode."""

    version: str
    kind: str
    mode: str


def stored_releases() -> Iterator[StoredRelease]:
    """Every stored release."""
    for folder in sorted(STORED.glob("*/*/*")):
        if folder.name != "base":
            yield StoredRelease(*folder.relative_to(STORED).parts)


def copy_release(stored: StoredRelease, folder: Path) -> tuple[Path, Path]:
    """Copy a stored release and its base; return (release, base), whole."""
    source, base, release = STORED / stored.version / stored.kind, folder / "base", folder / "release"
    shutil.copytree(source / "base", base)
    shutil.copytree(base, release)
    shutil.copytree(source / stored.mode, release, dirs_exist_ok=True)
    return release, base


def write_releases(folder: Path) -> None:
    """Write a base of every kind, and a release of it in every mode."""
    for kind in BASES:
        base = folder / kind / "base"
        write_base(kind, base)
        for mode in MODES:
            write_release(folder / kind / mode, base, mode)


def write_base(kind: str, folder: Path) -> None:
    """Write a tiny random model and its tokenizer."""
    model_type, dtype, changes = BASES[kind]
    config = tiny_config(model_type, **{**SIZES, **changes})
    tiny_model(config, dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def write_release(folder: Path, base_folder: Path, mode: NormPreservation) -> None:
    """Write a release, without the files that are the base's."""
    base = pin_base(str(base_folder))
    generator = torch.Generator().manual_seed(7)
    shape = (8, 2, base.layers + 1, base.hidden_size)
    target, baseline = (torch.randn(shape, generator=generator) + shift for shift in (0.5, 0.25))
    directions = compute_directions(target, baseline, quantile=0.995, orthogonalization="biprojected")
    settings = EditSettings(
        norm_preservation=mode, edit_bias=True, post_norm="compensate", orthogonalize="biprojected", spans=[]
    )
    recipe = make_recipe(PARAMETERS, base.writers, settings)
    save_edited_checkpoint(folder, base_folder, base, recipe, directions)
    for path in base_folder.iterdir():
        if (folder / path.name).read_bytes() == path.read_bytes():
            (folder / path.name).unlink()


def main(version: str) -> None:
    """Write the releases of a version that has none yet."""
    target = STORED / version
    if target.exists():
        raise SystemExit(f"{target} exists: the releases of a version are written once")
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # no git repository, so that the manifests name no commit
        write_releases(Path(version))
        shutil.copytree(version, target)


if __name__ == "__main__":
    main(sys.argv[1])
