"""Merging: the checkpoint on disk is bit for bit the edit in memory, and nothing but the declared tensors changes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.architectures import written_by
from tests.support.probe import written_along
from tests.support.samples import record_upstream, sample_base, sample_direction, sample_edit, sample_recipe
from tests.support.shuffled import Shuffled
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.editing import on_disk
from unwrite.editing.changes import TensorChange
from unwrite.editing.exact import edited_parameters, parameter_names
from unwrite.editing.on_disk import changed_blocks
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import model_files, shard_files, stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.records import read_csv, write_json
from unwrite.files.safetensors import StoredTensor, row_blocks
from unwrite.files.tensors import write_tensors
from unwrite.models.loading import load_model
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.release import save
from unwrite.schema.artifacts import ParameterLayout, Recipe, StoredLayout, as_json
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import EDIT_SIZES
from unwrite.stages import merge_model as stage
from unwrite.terms import NormPreservation

ROOT = Path(__file__).resolve().parents[2]
MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
MODEL = Path("artifacts/model")
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])


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
    """Write a base model and the inputs of the stage; the recipe edits all but the last layer's MLP."""
    model = zoo_model(kind, dtype)
    model.save_pretrained("base", max_shard_size=shard)
    tiny_tokenizer().save_pretrained("base")
    folder = Path("base")
    writers = written_by(kind, model)
    base = sample_base(
        writers,
        source="base",
        commit=None,
        hidden_size=32,
        files=[digest_of(folder / name) for name in model_files(folder)],
    )
    write_json(Path("artifacts/base.json"), as_json(base))
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(1, 4, 32, generator=generator)
    tensors = {
        "directions": directions / directions.norm(dim=-1, keepdim=True),
        "baseline_mean": torch.randn(1, 4, 32, generator=generator),
        "target_mean": torch.randn(1, 4, 32, generator=generator),
    }
    write_tensors(Path("artifacts/directions.safetensors"), tensors, {"center": "mean"})
    edits = [
        sample_edit(writer, 0.4 + 0.3 * writer.layer, sample_direction(1.25 + place / 10, 0, [None, 2][place % 2]))
        for place, writer in enumerate(writers[:-1])
    ]
    recipe = sample_recipe(edits, norm_preservation=mode)
    write_json(Path("artifacts/edit.json"), as_json(recipe))
    record_upstream()
    return recipe, tensors


def in_memory(recipe: Recipe, tensors: dict[str, Tensor], dtype: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the logits before and after the edit in memory, and the edited parameters of the model."""
    model = load_model(Path("base"), dtype, torch.device("cpu"))
    originals = parameters_of(model, parameter_names(recipe.edits))
    values = edited_parameters(
        recipe.edits, originals, recipe.settings.norm_preservation, tensors["directions"], tensors["baseline_mean"]
    )
    before = model(input_ids=TOKENS).logits
    with patched_parameters(model, values):
        held = {name: model.get_parameter(name).detach().clone() for name in values}
        return before, model(input_ids=TOKENS).logits, held


def merged_tensors() -> dict[str, Tensor]:
    return {name: tensor for shard in shard_files(MODEL) for name, tensor in load_file(MODEL / shard).items()}


def as_read(places: Sequence[StoredLayout], tensors: dict[str, Tensor]) -> Tensor:
    """Return the matrices, or the vectors of a bias, that the checkpoint holds in some tensors, in order."""
    actual = []
    for place in places:
        tensor = tensors[place.tensor]
        bias = "bias" in place.tensor
        actual.append(as_vectors(tensor, place.axis) if bias else as_matrices(tensor, place.axis, place.num_matrices))
    return torch.cat(actual)


def layouts_of(recipe: Recipe) -> list[ParameterLayout]:
    return [layout for edit in recipe.edits for layout in (edit.matrix, edit.bias) if layout is not None]


KINDS = ("llama", "starcoder2", "gpt2", "gemma2", "mixtral", "gpt_oss", "dbrx", "llama4_text")
CASES = [
    *((mode, kind, torch.float32, "1GB") for mode in MODES for kind in ("llama", "starcoder2")),
    *((mode, "starcoder2", torch.bfloat16, "20KB") for mode in MODES),
    *(("rows", kind, torch.bfloat16, "20KB") for kind in KINDS),
    *((mode, kind, torch.float32, "1GB") for mode in ("none", "columns") for kind in KINDS[2:]),
]


@pytest.mark.parametrize(("mode", "kind", "dtype", "shard"), CASES)
def test_the_merged_checkpoint_is_the_edit_in_memory_bit_for_bit(
    mode: NormPreservation, kind: str, dtype: torch.dtype, shard: str, params: Params
) -> None:
    recipe, tensors = prepare(mode, kind, dtype, shard)
    assert (len(shard_files(Path("base"))) == 1) == (shard == "1GB")
    stage.merge_model(params)
    before, expected, held = in_memory(recipe, tensors, str(dtype).removeprefix("torch."))
    model = load_model(MODEL, str(dtype).removeprefix("torch."), torch.device("cpu"))
    assert torch.equal(model(input_ids=TOKENS).logits, expected)
    assert not torch.equal(before, expected)
    stored = merged_tensors()
    for layout in layouts_of(recipe):
        value = as_read(
            [StoredLayout(tensor=layout.parameter, axis=layout.axis, num_matrices=layout.num_matrices)], held
        )
        assert torch.equal(as_read(layout.stored, stored), value)
        assert value.dtype == dtype


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("starcoder2", torch.float32), ("starcoder2", torch.bfloat16), ("mixtral", torch.bfloat16)],
)
def test_only_the_bytes_of_declared_tensors_differ(kind: str, dtype: torch.dtype, shard: str, params: Params) -> None:
    recipe, _ = prepare("rows", kind, dtype, shard)
    stage.merge_model(params)
    declared = {place.tensor for layout in layouts_of(recipe) for place in layout.stored}
    assert len(declared) == (2 * len(recipe.edits) if kind == "starcoder2" else 3 + 2 * 8)
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
    monkeypatch.setattr(on_disk, "row_blocks", lambda shape, *_: row_blocks(shape, 150))
    assert len(list(row_blocks(stored_tensors(Path("base"))[recipe.edits[0].matrix.parameter].shape, 150))) > 3
    stage.merge_model(params)
    assert (MODEL / "model.safetensors").read_bytes() == whole


def test_recipe_directions_and_manifest_are_saved_with_the_model(params: Params) -> None:
    prepare("none")
    stage.merge_model(params)
    for name in ("edit.json", "directions.safetensors"):
        assert (MODEL / name).read_bytes() == (Path("artifacts") / name).read_bytes()
    manifest = json.loads((MODEL / "provenance.json").read_text())
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in manifest["subject"]}
    assert stated == {p.name: digest_of(p).sha256 for p in MODEL.iterdir() if p.name != "provenance.json"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_does_not_change_the_bytes(
    dtype: torch.dtype, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("rows", "mixtral", dtype, shard="20KB")
    actual = []
    for threads, processors in ((1, 1), (2, 1), (1, 2), (2, 2)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        monkeypatch.setattr(save, "processors", lambda count=processors: count)
        stage.merge_model(params)
        torch.set_num_threads(before)
        actual.append({path.name: path.read_bytes() for path in MODEL.iterdir()})
    # The manifest states torch's threads; everything else is the same for all.
    assert actual[0]["provenance.json"] == actual[2]["provenance.json"]
    assert actual[1]["provenance.json"] == actual[3]["provenance.json"]
    assert actual[0].keys() == actual[1].keys() == actual[2].keys() == actual[3].keys()
    for name in actual[0].keys() - {"provenance.json"}:
        assert all(files[name] == actual[0][name] for files in actual), name
    assert len(shard_files(MODEL)) > 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_workers_does_not_change_the_bytes(
    dtype: torch.dtype, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("rows", "mixtral", dtype, shard="20KB")
    actual = []
    workers = Shuffled()
    monkeypatch.setattr("unwrite.workers.shards.open_pool", workers.opened)
    for count in (1, 2):
        stage.merge_model(params.model_copy(update={"runtime": params.runtime.model_copy(update={"workers": count})}))
        actual.append({path.name: path.read_bytes() for path in [*MODEL.iterdir(), EDIT_SIZES]})
    assert len(workers.made) == 2
    assert actual[0] == actual[1]
    assert len(shard_files(MODEL)) > 2


def test_the_size_of_the_edit_is_that_of_the_tensors_written(params: Params) -> None:
    recipe, _ = prepare("rows", "starcoder2", torch.bfloat16)
    stage.merge_model(params)
    before = {
        name: tensor for shard in shard_files(Path("base")) for name, tensor in load_file(Path("base") / shard).items()
    }
    after, rows = merged_tensors(), read_csv(Path("artifacts/plots/edit_size.csv"))
    assert {row["tensor"] for row in rows} == {place.tensor for one in layouts_of(recipe) for place in one.stored}
    for row in rows:
        base, edited = (tensors[row["tensor"]].double() for tensors in (before, after))
        assert float(row["norm"]) == pytest.approx(float(base.norm()), rel=1e-5)
        assert float(row["change"]) == pytest.approx(float((edited - base).norm()), rel=1e-5)
        assert float(row["relative"]) == (float(row["change"]) / float(row["norm"]) if float(row["norm"]) else 0.0)


def test_a_recipe_without_edits_copies_the_model(params: Params) -> None:
    recipe, _ = prepare("rows")
    write_json(Path("artifacts/edit.json"), as_json(recipe.model_copy(update={"edits": []})))
    record_upstream()
    stage.merge_model(params)
    assert (MODEL / "model.safetensors").read_bytes() == Path("base/model.safetensors").read_bytes()


def test_an_earlier_model_is_replaced_as_a_whole(params: Params) -> None:
    prepare("none")
    stage.merge_model(params)
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


@pytest.mark.parametrize("where", ["header", "edited tensor"])
def test_a_base_that_changed_is_reported_instead_of_its_consequences(where: str, params: Params) -> None:
    recipe, _ = prepare("none")
    path = Path("base/model.safetensors")
    edited = stored_tensors(Path("base"))[recipe.edits[0].matrix.stored[0].tensor].offset
    raw = bytearray(path.read_bytes())
    first, stop = (8, 9) if where == "header" else (edited, edited + 4)
    raw[first:stop] = b"\xff" * (stop - first)  # not JSON, or NaN
    path.write_bytes(raw)
    with pytest.raises(UnwriteError, match=r"model\.safetensors has sha256"):
        stage.merge_model(params)
    assert not MODEL.exists()


def test_a_missing_shard_is_named(params: Params) -> None:
    prepare("none", shard="20KB")
    gone = Path("base") / shard_files(Path("base"))[1]
    gone.unlink()
    with pytest.raises(UnwriteError, match=f"{gone.name} is missing, but the model was pinned with it"):
        stage.merge_model(params)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_nothing(
    error: BaseException, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("none")
    calls = 0

    def failing(tensor: StoredTensor, change: TensorChange) -> Iterator[tuple[int, Tensor]]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        yield from changed_blocks(tensor, change)

    monkeypatch.setattr(on_disk, "changed_blocks", failing)
    with pytest.raises(UnwriteError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        stage.merge_model(params)
    if isinstance(error, OSError):
        assert "Cannot write artifacts/model: No space left on device" in str(raised.value)
    assert not MODEL.exists()
    assert sorted(p.name for p in Path("artifacts").iterdir()) == [
        "base.json",
        "directions.safetensors",
        "edit.json",
        "runs",
    ]


def test_a_full_disk_is_found_before_anything_is_copied(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("none")
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UnwriteError, match=r"artifacts/model needs .* free some space"):
        stage.merge_model(params)
    assert not MODEL.exists()


KILLED = """
import os, sys
from pathlib import Path
from unwrite.stages.merge_model import merge_model
from unwrite.editing import on_disk
from unwrite.schema.params import load_params
changed_blocks, calls = on_disk.changed_blocks, []
def killing(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os._exit(9)
    return changed_blocks(*arguments)
on_disk.changed_blocks = killing
merge_model(load_params(Path(sys.argv[1])))
"""


def test_a_killed_run_leaves_no_model_and_can_be_repeated(params: Params) -> None:
    recipe, tensors = prepare("rows")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(ROOT / "params.yaml")]
    assert subprocess.run(command, env=environment, check=False).returncode == 9
    assert not MODEL.exists()
    assert Path("artifacts/.model.tmp").exists()
    stage.merge_model(params)
    *_, held = in_memory(recipe, tensors, "float32")
    assert all(torch.equal(merged_tensors()[name], value) for name, value in held.items())


def with_storage(recipe: Recipe, **changes: object) -> Recipe:
    """Return the recipe with other storage for the matrix of its first edit."""
    first, *others = recipe.edits
    place = first.matrix.stored[0].model_copy(update=changes)
    changed = first.model_copy(update={"matrix": first.matrix.model_copy(update={"stored": [place]})})
    return recipe.model_copy(update={"edits": [changed, *others]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensor": "nowhere"}, r"edit\.json names nowhere, which the checkpoint does not have\. Use the base"),
        ({"axis": 2}, r"o_proj\.weight: a weight must hold 1 matrices with hidden axis 2, got shape \[32, 32\]"),
        ({"axis": 1, "num_matrices": 5}, r"o_proj\.weight: a weight must hold 5 matrices with hidden axis 1"),
        (
            {"tensor": "model.layers.0.mlp.down_proj.weight", "axis": 1},
            r"shape \[32, 48\], .* needs 1 × hidden size 32",
        ),
        ({"tensor": "model.norm.weight"}, r"model\.norm\.weight: a weight must hold 1 matrices .*, got shape \[32\]"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_anything_is_copied(
    changes: dict[str, object], message: str, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, _ = prepare("none")
    write_json(Path("artifacts/edit.json"), as_json(with_storage(recipe, **changes)))
    record_upstream()
    monkeypatch.setattr(save, "merge_files", None)
    with pytest.raises(UnwriteError, match=message):
        stage.merge_model(params)
    assert not MODEL.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind != "llama4_text"]
)  # its dense layers are not in the table
def test_a_released_model_writes_nothing_but_rounding_along_the_direction(
    kind: str, dtype: torch.dtype, params: Params
) -> None:
    _, tensors = prepare("none", kind, dtype)
    edits = [sample_edit(writer, 1.0, sample_direction(1.0)) for writer in written_by(kind, zoo_model(kind, dtype))]
    write_json(Path("artifacts/edit.json"), as_json(sample_recipe(edits, norm_preservation="none")))
    record_upstream()
    stage.merge_model(params)
    v = torch.nn.functional.normalize(tensors["directions"][0, 1].double(), dim=0)
    rounding = torch.finfo(dtype).eps
    assert along(MODEL, v) < rounding
    assert along(Path("base"), v) > 10 * rounding  # the control


def along(folder: Path, v: Tensor) -> float:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    )
    return written_along(model, v)
