"""The saved adapter: its files, and the line that states its error. `tests/stages` loads it with PEFT."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.support import subjects
from tests.support.architectures import written_by
from tests.support.samples import sample_base, sample_direction, sample_edit, sample_recipe
from tests.support.zoo import zoo_model
from unwrite.editing.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_MANIFEST,
    ADAPTER_WEIGHTS,
    AdapterManifest,
    error_text,
    save_adapter,
)
from unwrite.editing.lora import AdaptedParameter, planned_changes
from unwrite.files.hashing import digest_of
from unwrite.schema.artifacts import Recipe

STORED = {"directions": subjects.DIRECTIONS, "baseline_mean": subjects.MEANS}


def test_an_adapter_is_saved_from_a_recipe_and_the_folder_of_its_base(tmp_path: Path) -> None:
    model = zoo_model("llama", torch.float32)
    model.save_pretrained(tmp_path / "base")
    writers = written_by("llama", model)
    recipe = sample_recipe([sample_edit(writers[0], 1.0, sample_direction(1.5))], norm_preservation="none")
    changes = planned_changes(recipe, sample_base(writers, hidden_size=32), 4)
    advanced: list[int] = []
    folder = tmp_path / "adapter"
    manifest = save_adapter(
        folder, tmp_path / "base", recipe, STORED, changes, base_name="examples/small", advance=advanced.append
    )
    assert advanced == [1]
    assert AdapterManifest.model_validate_json((folder / ADAPTER_MANIFEST).read_bytes()) == manifest
    assert manifest.files == [digest_of(folder / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "edit.json")]
    assert (manifest.base, manifest.commit, [parameter.rank for parameter in manifest.parameters]) == (
        "examples/small",
        None,
        [1],
    )
    assert Recipe.model_validate_json((folder / "edit.json").read_bytes()) == recipe
    assert len(load_file(folder / ADAPTER_WEIGHTS)) == 2


def adapted_parameter(error: float, rank: int = 16) -> AdaptedParameter:
    return AdaptedParameter(parameter="w", bias=None, rank=rank, relative_error=error)


def test_the_line_states_ranks_and_errors() -> None:
    actual = error_text([adapted_parameter(0.02), adapted_parameter(0.104), adapted_parameter(0.06, rank=4)])
    assert actual == (
        "3 parameters of rank 4 to 16; the adapter misses 6 % of the change of a weight at the median, 10 % at most"
    )
    assert error_text([adapted_parameter(3e-8, 1)]).endswith(
        "1 parameters of rank 1; the adapter misses nothing but rounding"
    )
