"""A small release next to its base, made without the code that verifies it, and ways to change it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.support.architectures import written_by
from tests.support.edited import write_rows
from tests.support.samples import (
    sample_base,
    sample_direction,
    sample_edit,
    sample_recipe,
    sample_run,
    sample_settings,
    sample_trial,
)
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.directions import difference_direction, orthogonalize
from unwrite.core.edit import edit_weight
from unwrite.core.kernel import kernel_weight
from unwrite.core.rounding import round_to
from unwrite.editing.exact import resolve_direction
from unwrite.files.checkpoints import model_files, shard_files, stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.files.safetensors import StoredTensor, read_rows
from unwrite.files.tensors import write_tensors
from unwrite.pipeline.runs import StageRun
from unwrite.release.manifest import build_manifest, manifest_json
from unwrite.release.statement_checks import MERGED_FROM
from unwrite.release.verify import Verification, verify_release
from unwrite.schema.artifacts import Edit, FileDigest, Kernel, Recipe, as_json
from unwrite.schema.params import load_params
from unwrite.stages.merge_model import BEFORE

EDITED, UNEDITED = "model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.q_proj.weight"
"""An edited and an unedited tensor of the release below."""


class Release(NamedTuple):
    """The folders of base and release, and the recipe."""

    base: Path
    folder: Path
    recipe: Recipe


def make_release(work: Path, dtype: torch.dtype = torch.bfloat16) -> Release:
    """A llama of three layers in a few shards, the writers of the first two edited; manifest and all."""
    base, folder = work / "base", work / "release"
    model = zoo_model("llama", dtype)
    model.save_pretrained(base, max_shard_size="40KB")
    tiny_tokenizer().save_pretrained(base)
    writers = written_by("llama", model)
    kernel = Kernel(max_weight=0.8, max_weight_position=0, min_weight=0.5, min_weight_distance=1)
    strengths = {layer: kernel_weight(layer, **kernel.model_dump()) for layer in (0, 1)}
    edited = [writer for writer in writers if writer.layer in strengths]
    edits = [sample_edit(writer, strengths[writer.layer], sample_direction(1.25)) for writer in edited]
    trial = sample_trial(attention=kernel, mlp=kernel, direction_index=1.25)
    recipe = sample_recipe(edits, trial, norm_preservation="rows")
    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(2, 1, 4, 32, generator=generator)
    directions = orthogonalize(difference_direction(means[1], means[0]), means[0]).float()
    tensors = {"directions": directions, "baseline_mean": means[0], "target_mean": means[1]}
    write_tensors(folder / "directions.safetensors", tensors, {})
    write_json(folder / "edit.json", as_json(recipe))
    for edit in edits:
        _apply(stored_tensors(folder)[edit.matrix.parameter], edit, tensors)
    files = [digest_of(base / name, name) for name in model_files(base)]
    write_manifest(folder, recipe, files)
    return Release(base, folder, recipe)


def write_manifest(folder: Path, recipe: Recipe, base_files: list[FileDigest]) -> None:
    """Write the manifest of the folder as it is now, as a forger would."""
    base = sample_base(source="base", commit=None, files=base_files)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [digest_of(folder / name, name) for name in names if name != "provenance.json"]
    manifest = build_manifest(base, recipe, stored_tensors(folder), files, sample_runs(folder))
    write_json(folder / "provenance.json", manifest_json(manifest))


def sample_runs(folder: Path) -> list[StageRun]:
    """The records of the stages that led to a release, and to its figures if it has any."""
    written = {"compute_directions": "directions.safetensors", "select_trial": "edit.json"}
    figures = (folder / "evaluation.json").exists()
    stages = [*BEFORE, *(["merge_model", "score_responses"] if figures else [])]
    sections = [*MERGED_FROM, "filter", *(["judge", "generate", "score", "evaluate"] if figures else [])]
    runs = []
    for stage in stages:
        name = {**written, "score_responses": "evaluation.json"}.get(stage)
        file = None if name is None or not (folder / name).exists() else digest_of(folder / name)
        writes = [] if file is None else [file.model_copy(update={"name": f"artifacts/{name}"})]
        runs.append(sample_run(stage, {one: release_parameters()[one] for one in sections}, writes=writes))
        sections = []
    return runs


def release_parameters() -> dict[str, dict[str, Any]]:
    """The parameters of the release above: those of the demo, as far as they do not contradict its recipe."""
    values: dict[str, dict[str, Any]] = load_params(Path(__file__).parents[2] / "params.yaml").model_dump(mode="json")
    values["select"] |= {"trial": 0, "max_behaviour_rate": 0.2}
    values["evaluate"]["gates"] = ["kl_response <= 0.2"]
    values["optimize"] |= sample_settings().model_dump(include={"norm_preservation", "edit_bias", "post_norm"})
    values["directions"]["orthogonalize"] = sample_settings().orthogonalize
    return values


def rewrite_manifest(release: Release, recipe: Recipe | None = None) -> None:
    """Write a manifest that agrees with the release as it is now."""
    files = [digest_of(release.base / name, name) for name in model_files(release.base)]
    write_manifest(release.folder, recipe or release.recipe, files)


def change_tensor(folder: Path, name: str, change: Callable[[Tensor], Tensor]) -> None:
    """Replace the values of one tensor, and nothing else."""
    tensor = stored_tensors(folder)[name]
    rows = slice(0, tensor.shape[0])
    write_rows(tensor, rows, change(read_rows(tensor, rows)).contiguous())


def flip_bit(folder: Path, name: str, place: int = 0) -> None:
    """Flip the lowest bit of one value of a 16-bit tensor."""

    def flipped(values: Tensor) -> Tensor:
        bits = values.clone().view(torch.int16)
        bits.view(-1)[place] ^= 1
        return bits.view(values.dtype)

    change_tensor(folder, name, flipped)


@contextmanager
def changed_json(path: Path) -> Iterator[Any]:
    """The values of a JSON file, to change; written back on exit."""
    values = json.loads(path.read_text())
    yield values
    path.write_text(json.dumps(values))


def verified(release: Release) -> Verification:
    """The verification of a release against its base."""
    return verify_release(release.folder, release.base)


def failed(verification: Verification) -> dict[str, str]:
    """The checks that failed, with their details."""
    return {check.name: "\n".join(check.details) for check in verification.checks if check.outcome == "failed"}


def first_shard(folder: Path) -> Path:
    """The first shard of a checkpoint."""
    return folder / shard_files(folder)[0]


def _apply(stored: StoredTensor, edit: Edit, tensors: dict[str, Tensor]) -> None:
    v = resolve_direction(edit.direction, tensors["directions"], tensors["baseline_mean"])
    rows = slice(0, stored.shape[0])
    weight = read_rows(stored, rows)
    write_rows(stored, rows, round_to(edit_weight(weight, v, edit.strength, "rows"), weight.dtype))
