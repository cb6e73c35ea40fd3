"""The base with the adapter, in plain PEFT, is the edited model; the manifest states the error."""

from __future__ import annotations

import errno
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.architectures import written_by
from tests.support.samples import (
    sample_base,
    sample_direction,
    sample_edit,
    sample_layout,
    sample_recipe,
    sample_writer,
)
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.edit import edit_weight
from unwrite.core.layout import as_matrices
from unwrite.editing import adapter
from unwrite.editing.adapter import AdapterManifest
from unwrite.editing.exact import edited_parameters, parameter_names, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import model_files
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.models.loading import load_model
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.schema.artifacts import ParameterLayout, Recipe, StoredLayout, Writer, as_json
from unwrite.schema.params import Params, load_params
from unwrite.stages import export_adapter as stage
from unwrite.terms import NormPreservation

ROOT = Path(__file__).resolve().parents[2]
ADAPTER = Path("artifacts/adapter")
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])
FULL = 64  # more than the width of any tiny model


class Prepared(NamedTuple):
    recipe: Recipe
    directions: Tensor
    means: Tensor


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not Path("artifacts/.adapter.tmp").exists()


def params(rank: int | None = 16) -> Params:
    read = load_params(ROOT / "params.yaml")
    return read.model_copy(
        update={
            "adapter": read.adapter.model_copy(update={"rank": rank}),
            "runtime": read.runtime.model_copy(update={"progress": "none"}),
        }
    )


def prepare(
    mode: NormPreservation,
    kind: str = "llama",
    *,
    dtype: torch.dtype = torch.float32,
    components: tuple[str, ...] = ("attention", "mlp"),
    biases: bool = True,
    source: str = "base",
) -> Prepared:
    """Write a base model and the inputs of the stage; the recipe leaves out the last writer."""
    model = zoo_model(kind, dtype)
    model.save_pretrained("base")
    tiny_tokenizer().save_pretrained("base")
    folder = Path("base")
    writers = written_by(kind, model) if kind != "qwen3_moe" else mixture()
    base = sample_base(
        writers,
        source=source,
        commit=None,
        hidden_size=32,
        files=[digest_of(folder / name) for name in model_files(folder)],
    )
    write_json(Path("artifacts/base.json"), as_json(base))
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(1, 4, 32, generator=generator), dim=-1)
    means = torch.randn(1, 4, 32, generator=generator)
    tensors = {"directions": directions, "baseline_mean": means}
    write_tensors(Path("artifacts/directions.safetensors"), tensors, {"center": "mean"})
    edits = [
        sample_edit(writer, 0.4 + 0.3 * writer.layer, sample_direction(1.25 + place / 10))
        for place, writer in enumerate(writers[:-1])
        if writer.component in components
    ]
    if not biases:
        edits = [edit.model_copy(update={"bias": None}) for edit in edits]
    recipe = sample_recipe(edits, norm_preservation=mode)
    write_json(Path("artifacts/edit.json"), as_json(recipe))
    return Prepared(recipe, directions, means)


def mixture() -> list[Writer]:
    """Qwen 3 with a dense layer before those with experts: PEFT confuses its name with that of older experts."""
    mlp = "model.layers.{}.mlp."
    writers = [sample_writer(0, "mlp", shape=(32, 48), matrix=sample_layout(f"{mlp.format(0)}down_proj.weight"))]
    for layer in (1, 2):
        prefix = mlp.format(layer)
        stored = [
            StoredLayout(tensor=f"{prefix}experts.{n}.down_proj.weight", axis=0, num_matrices=1) for n in range(8)
        ]
        experts = ParameterLayout(parameter=f"{prefix}experts.down_proj", axis=1, num_matrices=8, stored=stored)
        writers.append(sample_writer(layer, "mlp", shape=(8, 32, 16), matrix=experts))
    return writers


def adapted(dtype: str = "float32") -> Any:
    """Base and adapter loaded in plain PEFT, which gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft
    model = load_model(Path("base"), dtype, torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        return peft.PeftModel.from_pretrained(model, str(ADAPTER))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        actual: Tensor = model(input_ids=TOKENS).logits
    return actual


def in_memory(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Logits before and after the edit, float32."""
    model = load_model(Path("base"), "float32", torch.device("cpu"))
    recipe, directions, means = prepared
    originals = parameters_of(model, parameter_names(recipe.edits))
    values = edited_parameters(recipe.edits, originals, recipe.settings.norm_preservation, directions, means)
    before = logits(model)
    with patched_parameters(model, values):
        return before, logits(model)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def manifest() -> AdapterManifest:
    return AdapterManifest.model_validate_json((ADAPTER / "adapter.json").read_bytes())


def written() -> dict[str, Tensor]:
    return load_file(ADAPTER / "adapter_model.safetensors")


@pytest.mark.parametrize("mode", ["none", "pre"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "starcoder2", "gemma2", "mixtral", "llama4_text", "qwen3_moe"])
def test_the_base_with_the_adapter_is_the_edited_model(kind: str, mode: NormPreservation) -> None:
    prepared = prepare(mode, kind)
    stage.export_adapter(params())
    before, expected = in_memory(prepared)
    actual = adapted()
    assert distance(logits(actual), expected) < 1e-5
    assert distance(before, expected) > 1e-2
    with actual.disable_adapter():
        assert torch.equal(logits(actual), before)
    assert manifest().largest_error < 1e-6
    assert {parameter.rank for parameter in manifest().parameters} == {1}


@pytest.mark.parametrize("mode", ["rows", "columns"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "starcoder2", "gemma2", "mixtral"])
def test_an_adapter_of_full_rank_is_the_edited_model_in_modes_that_keep_norms(
    kind: str, mode: NormPreservation
) -> None:
    prepared = prepare(mode, kind)
    stage.export_adapter(params(FULL))
    before, expected = in_memory(prepared)
    assert distance(logits(adapted()), expected) < 1e-4
    assert distance(before, expected) > 1e-2
    assert manifest().largest_error < 1e-6


def test_the_adapter_merges_into_the_edited_model() -> None:
    prepared = prepare("none", "starcoder2")
    stage.export_adapter(params())
    assert distance(logits(adapted().merge_and_unload()), in_memory(prepared)[1]) < 1e-5


@pytest.mark.parametrize("components", [("attention", "mlp"), ("mlp",)])
def test_transposed_experts_and_their_biases_are_adapted(components: tuple[str, ...]) -> None:
    prepared = prepare("none", "gpt_oss", components=components, biases=components == ("mlp",))
    stage.export_adapter(params())
    before, expected = in_memory(prepared)
    assert distance(logits(adapted()), expected) < 1e-5
    assert distance(before, expected) > 1e-2


def test_a_model_in_16_bits_is_edited_before_rounding() -> None:
    prepared = prepare("none", dtype=torch.bfloat16)
    stage.export_adapter(params())
    assert {tensor.dtype for tensor in written().values()} == {torch.float32}
    before, expected = in_memory(prepared)  # the same weights, computed with in float32
    assert distance(logits(adapted()), expected) < 1e-5
    assert distance(before, expected) > 1e-2
    assert logits(adapted("bfloat16")).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_the_manifest_states_the_error_which_falls_with_the_rank(kind: str, mode: NormPreservation) -> None:
    prepared = prepare(mode, kind)
    stage.export_adapter(params(1))
    largest = [manifest().largest_error]
    for rank in (4, 12):
        stage.export_adapter(params(rank))
        assert {parameter.rank for parameter in manifest().parameters} == {rank}
        assert {adapted.parameter: adapted.relative_error for adapted in manifest().parameters} == pytest.approx(
            measured(prepared, kind), rel=1e-4
        )
        largest.append(manifest().largest_error)
    assert 0.9 > largest[0] > largest[1] > largest[2] > 0.01
    assert largest[2] == max(parameter.relative_error for parameter in manifest().parameters)


def measured(prepared: Prepared, kind: str) -> dict[str, float]:
    """‖ΔW − BA‖ / ‖ΔW‖ of each edited weight, from PEFT's layers and the plain edit."""
    recipe, directions, means = prepared
    layers = {name: layer for name, layer in adapted().get_base_model().named_modules() if hasattr(layer, "lora_A")}
    model = load_model(Path("base"), "float32", torch.device("cpu"))
    actual = {}
    for edit in recipe.edits:
        name = edit.matrix.parameter
        (layer,) = [layer for path, layer in layers.items() if name in {f"{path}.weight", f"{path}.down_proj"}]
        v = resolve_direction(edit.direction, directions, means)
        weights = as_matrices(model.get_parameter(name).detach(), edit.matrix.axis, edit.matrix.num_matrices)
        changes = [edit_weight(W, v, edit.strength, recipe.settings.norm_preservation) - W.double() for W in weights]
        added = as_matrices(layer.get_delta_weight("default").detach(), edit.matrix.axis, edit.matrix.num_matrices)
        change = torch.stack(changes)
        actual[name] = float((change - added.double()).norm() / change.norm())
    return actual


def test_the_folder_holds_the_files_of_its_manifest_and_no_path() -> None:
    prepare("rows", source=str(Path("base").absolute()))
    stage.export_adapter(params())
    names = ["adapter.json", "adapter_config.json", "adapter_model.safetensors", "edit.json"]
    assert sorted(path.name for path in ADAPTER.iterdir()) == names
    assert [file.name for file in manifest().files] == names[1:]
    assert manifest().files == [digest_of(ADAPTER / name) for name in names[1:]]
    assert (ADAPTER / "edit.json").read_bytes() == Path("artifacts/edit.json").read_bytes()
    assert (manifest().base, manifest().norm_preservation) == ("base", "rows")
    for name in names:
        assert str(Path.cwd()).encode() not in (ADAPTER / name).read_bytes()
    assert json.loads((ADAPTER / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def test_the_adapter_holds_only_the_edited_modules() -> None:
    recipe = prepare("rows", components=("mlp",)).recipe
    stage.export_adapter(params(3))
    modules = [edit.matrix.parameter.removesuffix(".weight") for edit in recipe.edits]
    assert set(written()) == {f"base_model.model.{name}.lora_{side}.weight" for name in modules for side in "AB"}
    assert json.loads((ADAPTER / "adapter_config.json").read_text())["target_modules"] == sorted(modules)


def test_the_same_recipe_gives_the_same_bytes() -> None:
    prepare("columns", "starcoder2")
    stage.export_adapter(params())
    first = {path.name: path.read_bytes() for path in ADAPTER.iterdir()}
    stage.export_adapter(params())
    assert {path.name: path.read_bytes() for path in ADAPTER.iterdir()} == first


def test_without_a_rank_the_stage_writes_a_note_and_no_adapter() -> None:
    ADAPTER.mkdir(parents=True)
    (ADAPTER / "adapter_model.safetensors").write_text("old")
    stage.export_adapter(params(None))  # no artifacts are needed
    assert [path.name for path in ADAPTER.iterdir()] == ["README.txt"]
    assert "adapter.rank in params.yaml is null" in (ADAPTER / "README.txt").read_text()


def test_a_recipe_without_edits_is_refused() -> None:
    recipe = prepare("rows").recipe
    write_json(Path("artifacts/edit.json"), as_json(recipe.model_copy(update={"edits": []})))
    with pytest.raises(UnwriteError, match="edits nothing"):
        stage.export_adapter(params())
    assert not ADAPTER.exists()


@pytest.mark.parametrize("mode", ["none", "rows"])
def test_a_recipe_that_changes_nothing_is_refused(mode: NormPreservation) -> None:
    _, directions, means = prepare(mode)
    zeros = {"directions": torch.zeros_like(directions), "baseline_mean": means}
    write_tensors(Path("artifacts/directions.safetensors"), zeros, {"center": "mean"})
    with pytest.raises(UnwriteError, match="every direction it names is zero"):
        stage.export_adapter(params())
    assert not ADAPTER.exists()


def test_a_parameter_that_peft_cannot_adapt_is_refused_before_weights_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare("none", "gpt_oss")
    monkeypatch.setattr(adapter, "stored_tensors", None)
    with pytest.raises(UnwriteError, match=r"cannot adapt model\.layers\.0\.self_attn\.o_proj\.bias"):
        stage.export_adapter(params())
    assert not ADAPTER.exists()


def test_a_failure_half_way_keeps_the_earlier_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("none")
    stage.export_adapter(params())
    before = {path.name: path.read_bytes() for path in ADAPTER.iterdir()}

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter, "write_tensors", fail)
    with pytest.raises(UnwriteError, match=r"Cannot write artifacts/adapter: No space left"):
        stage.export_adapter(params())
    assert {path.name: path.read_bytes() for path in ADAPTER.iterdir()} == before


def test_the_log_states_the_error_of_the_adapter(caplog: pytest.LogCaptureFixture) -> None:
    prepare("none")
    with caplog.at_level(logging.INFO, "unwrite"):
        stage.export_adapter(params())
    assert "5 parameters of rank 1; the adapter misses nothing but rounding" in caplog.text
