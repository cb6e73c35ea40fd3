"""Merging: the checkpoint on disk is bit for bit the edit in memory, and nothing but the declared tensors changes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stages import merge_model as stage
from tests.models.tiny import tiny_config, tiny_model, tiny_tokenizer
from unwrite.artifacts import (
    Base,
    DirectionRef,
    Edit,
    Recipe,
    Trial,
    TrialParameters,
    Writer,
    as_json,
)
from unwrite.artifacts import Kernel as KernelRecord
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import StoredTensor, model_files, row_blocks, shard_files, stored_tensors
from unwrite.files.digests import digest_of
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.models.apply import parameters_of, replaced_parameters
from unwrite.models.loading import load_model
from unwrite.models.writers import find_writers
from unwrite.params import NormPreservation, Params, load_params
from unwrite.recipe import edited_parameters

ROOT = Path(__file__).resolve().parents[2]
MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
MODEL = Path("artifacts/model")
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])
KERNEL = KernelRecord(max_weight=1, max_weight_position=1, min_weight=1, min_weight_distance=1)
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not Path("artifacts/.model.tmp").exists()


@pytest.fixture
def params() -> Params:
    params = load_params(ROOT / "params.yaml")
    return params.model_copy(update={"runtime": params.runtime.model_copy(update={"progress": "none"})})


def prepare(
    mode: NormPreservation,
    kind: str = "llama",
    dtype: torch.dtype = torch.float32,
    shard: str = "1GB",
) -> tuple[Recipe, dict[str, Tensor]]:
    """Writes a base model and the artifacts the stage reads; the recipe edits all but the last layer's MLP."""
    config = tiny_config(kind)
    tiny_model(config, dtype).save_pretrained("base", max_shard_size=shard)
    tiny_tokenizer().save_pretrained("base")
    folder = Path("base")
    found = find_writers(config).writers
    writers = [
        Writer(
            parameter=f"{w.module}.weight",
            bias=f"{w.module}.bias" if w.has_bias else None,
            layer=w.layer,
            component=w.component,
            shape=(32, 1),
            dtype=DTYPES[dtype],
            multiplier=w.multiplier,
        )
        for w in found
    ]
    base = Base(
        source="base",
        commit=None,
        architecture=kind,
        stored_dtype=str(dtype).removeprefix("torch."),
        compute_dtype=str(dtype).removeprefix("torch."),
        layers=3,
        hidden_size=32,
        vocabulary=96,
        completeness=0.0,
        files=[digest_of(folder / name) for name in model_files(folder)],
        writers=writers,
    )
    write_json(Path("artifacts/base.json"), as_json(base))
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(1, 4, 32, generator=generator)
    tensors = {
        "directions": directions / directions.norm(dim=-1, keepdim=True),
        "baseline_mean": torch.randn(1, 4, 32, generator=generator),
    }
    write_tensors(Path("artifacts/directions.safetensors"), tensors, {"center": "mean"})
    edits = [
        Edit(
            parameter=writer.parameter,
            bias=writer.bias,
            layer=writer.layer,
            component=writer.component,
            weight=0.4 + 0.3 * writer.layer,
            direction=DirectionRef(position=0, index=1.25 + place / 10, orthogonalize_to=[None, 2][place % 2]),
        )
        for place, writer in enumerate(writers[:-1])
    ]
    parameters = TrialParameters(direction_scope="global", direction_index=1, position=0, attention=KERNEL, mlp=KERNEL)
    trial = Trial(number=0, behaviour_rate=0.0, divergence=0.0, parameters=parameters)
    recipe = Recipe(trial=trial, selection="by hand", norm_preservation=mode, edits=edits)
    write_json(Path("artifacts/edit.json"), as_json(recipe))
    return recipe, tensors


def in_memory(recipe: Recipe, tensors: dict[str, Tensor], dtype: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits before and after the edit in memory, and the edited parameters as the model holds them."""
    model = load_model(Path("base"), dtype, torch.device("cpu"))
    originals = parameters_of(model, [name for e in recipe.edits for name in (e.parameter, e.bias) if name])
    values = edited_parameters(
        recipe.edits, originals, recipe.norm_preservation, tensors["directions"], tensors["baseline_mean"]
    )
    before = model(input_ids=TOKENS).logits
    with replaced_parameters(model, values):
        held = {name: model.get_parameter(name).detach().clone() for name in values}
        return before, model(input_ids=TOKENS).logits, held


def merged_tensors() -> dict[str, Tensor]:
    return {name: tensor for shard in shard_files(MODEL) for name, tensor in load_file(MODEL / shard).items()}


CASES = [
    *((mode, kind, torch.float32, "1GB") for mode in MODES for kind in ("llama", "starcoder2")),
    *((mode, "starcoder2", torch.bfloat16, "20KB") for mode in MODES),
    ("rows", "llama", torch.float32, "20KB"),
]


@pytest.mark.parametrize(("mode", "kind", "dtype", "shard"), CASES)
def test_the_merged_checkpoint_is_the_edit_in_memory_bit_for_bit(
    mode: NormPreservation, kind: str, dtype: torch.dtype, shard: str, params: Params
) -> None:
    from transformers import AutoModelForCausalLM

    recipe, tensors = prepare(mode, kind, dtype, shard)
    assert (len(shard_files(Path("base"))) == 1) == (shard == "1GB")
    stage.merge_model(params)
    before, expected, held = in_memory(recipe, tensors, str(dtype).removeprefix("torch."))
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype)
    assert torch.equal(model(input_ids=TOKENS).logits, expected)
    assert not torch.equal(before, expected)
    stored = merged_tensors()
    for name, value in held.items():
        assert stored[name].dtype == dtype
        assert torch.equal(stored[name], value)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_bytes_of_declared_tensors_differ(dtype: torch.dtype, shard: str, params: Params) -> None:
    recipe, _ = prepare("rows", "starcoder2", dtype, shard)
    stage.merge_model(params)
    declared = {name for edit in recipe.edits for name in (edit.parameter, edit.bias) if name}
    assert len(declared) == 2 * len(recipe.edits)
    shards = shard_files(Path("base"))
    assert (len(shards) > 1) == (shard == "20KB")
    assert shard_files(MODEL) == shards
    places = stored_tensors(Path("base"))
    for name in shards:
        old, new = bytearray((Path("base") / name).read_bytes()), bytearray((MODEL / name).read_bytes())
        header = 8 + int.from_bytes(old[:8], "little")
        assert old[:header] == new[:header]
        for tensor, place in places.items():
            if place.file.name == name and tensor in declared:
                size = dtype.itemsize * torch.Size(place.shape).numel()
                span = slice(place.offset, place.offset + size)
                assert old[span] != new[span], tensor
                old[span] = new[span] = bytes(size)
        assert old == new
    for name in model_files(Path("base")):
        if name not in shards:
            assert (MODEL / name).read_bytes() == (Path("base") / name).read_bytes()


def test_a_weight_read_in_small_blocks_gives_the_same_bytes(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, _ = prepare("columns")
    stage.merge_model(params)
    whole = (MODEL / "model.safetensors").read_bytes()
    monkeypatch.setattr(stage, "row_blocks", partial(row_blocks, elements=150))
    assert len(list(row_blocks(stored_tensors(Path("base"))[recipe.edits[0].parameter].shape, 150))) > 3
    stage.merge_model(params)
    assert (MODEL / "model.safetensors").read_bytes() == whole


def test_recipe_directions_and_manifest_travel_with_the_model(params: Params) -> None:
    prepare("none")
    stage.merge_model(params)
    for name in ("edit.json", "directions.safetensors"):
        assert (MODEL / name).read_bytes() == (Path("artifacts") / name).read_bytes()
    manifest = json.loads((MODEL / "provenance.json").read_text())
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in manifest["subject"]}
    assert stated == {p.name: digest_of(p).sha256 for p in MODEL.iterdir() if p.name != "provenance.json"}


def test_a_recipe_without_edits_copies_the_model(params: Params) -> None:
    recipe, _ = prepare("rows")
    write_json(Path("artifacts/edit.json"), as_json(recipe.model_copy(update={"edits": []})))
    stage.merge_model(params)
    assert (MODEL / "model.safetensors").read_bytes() == Path("base/model.safetensors").read_bytes()


def test_an_earlier_model_is_replaced_whole(params: Params) -> None:
    prepare("none")
    MODEL.mkdir()
    (MODEL / "leftover.txt").write_text("old")
    stage.merge_model(params)
    assert not (MODEL / "leftover.txt").exists()
    assert (MODEL / "model.safetensors").exists()


def test_a_base_that_changed_is_refused(params: Params) -> None:
    prepare("none")
    path = Path("base/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UnwriteError, match=r"model\.safetensors has sha256"):
        stage.merge_model(params)
    assert not MODEL.exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(
    error: BaseException, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("none")
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error

    monkeypatch.setattr(stage, "write_rows", fail)
    with pytest.raises(UnwriteError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        stage.merge_model(params)
    if isinstance(error, OSError):
        assert "Can't write artifacts/model: No space left on device" in str(raised.value)
    assert not MODEL.exists()
    assert sorted(p.name for p in Path("artifacts").iterdir()) == ["base.json", "directions.safetensors", "edit.json"]


def test_a_full_disk_is_found_before_anything_is_copied(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("none")
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UnwriteError, match=r"artifacts/model needs .* make room"):
        stage.merge_model(params)
    assert not MODEL.exists()


KILLED = """
import os, sys
from pathlib import Path
from stages import merge_model as stage
from unwrite.params import load_params
write, calls = stage.write_rows, []
def write_rows(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os._exit(9)
    write(*arguments)
stage.write_rows = write_rows
stage.merge_model(load_params(Path(sys.argv[1])))
"""


def test_what_is_killed_half_way_leaves_no_model_and_runs_again(params: Params) -> None:
    recipe, tensors = prepare("rows")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(ROOT / "params.yaml")]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    assert not MODEL.exists()
    assert Path("artifacts/.model.tmp").exists()
    stage.merge_model(params)
    *_, held = in_memory(recipe, tensors, "float32")
    assert all(torch.equal(merged_tensors()[name], value) for name, value in held.items())


def test_patch_weight_and_patch_bias_write_one_tensor_each() -> None:
    recipe, tensors = prepare("columns", "starcoder2")
    edit = recipe.edits[0]
    assert edit.bias is not None
    before = {name: tensor.clone() for name, tensor in load_file("base/model.safetensors").items()}
    places: dict[str, StoredTensor] = stored_tensors(Path("base"))
    v = tensors["directions"][0, 2]
    stage.patch_weight(places[edit.parameter], edit, v, "columns")
    stage.patch_bias(places[edit.bias], edit, v)
    after = load_file("base/model.safetensors")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {edit.parameter, edit.bias}
    # The theorem of each: column norms stay; what the bias writes along v shrinks by 1 − λ.
    torch.testing.assert_close(after[edit.parameter].norm(dim=0), before[edit.parameter].norm(dim=0))
    torch.testing.assert_close(after[edit.bias] @ v, (1 - edit.weight) * (before[edit.bias] @ v))
