"""A model that is spread over memory and disk computes the same bits, and no weight that is on disk is exchanged."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_model
from unwrite.editing.blocks import blocks_of_model
from unwrite.errors import UnwriteError
from unwrite.evaluation.divergence import measure_kl, teacher_force
from unwrite.models import placement
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model
from unwrite.models.patching import added_to_stream, patched_parameters
from unwrite.models.placement import (
    bytes_by_device,
    input_device,
    is_offloaded,
    is_spread,
    memory_to_spread_over,
    parameters_of,
    pass_device,
    pick_device,
    size_text,
)
from unwrite.models.residuals import extract_residuals
from unwrite.schema.artifacts import ParameterLayout, StoredLayout

CPU = torch.device("cpu")
PROMPTS = [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14]]


class Where(NamedTuple):
    """A placement."""

    max_memory: Mapping[int | str, int | str] | None
    offload_folder: str
    device: str = "auto"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model(tiny_config("llama", num_hidden_layers=4)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("cpu", [60_000, 0])
def test_a_model_on_disk_computes_the_same_bits(folder: Path, tmp_path: Path, cpu: int) -> None:
    plain = load_model(folder, "float32", CPU)
    spread = load_model(folder, "float32", Where({"cpu": cpu}, str(tmp_path / "offload")))
    sizes = bytes_by_device(spread)
    assert sizes["disk"] > 0
    assert (sizes["cpu"] > 0) == (cpu > 0)
    assert sum(sizes.values()) == sum(parameter.nbytes for parameter in plain.parameters())
    assert is_spread(spread)
    assert input_device(spread) == pass_device(spread) == CPU
    assert torch.equal(extract_residuals(spread, PROMPTS, (-1, -2)), extract_residuals(plain, PROMPTS, (-1, -2)))
    responses = generate_greedily(plain, PROMPTS, 6)
    assert generate_greedily(spread, PROMPTS, 6) == responses
    with added_to_stream(plain, torch.ones(32), 2, 1.0):
        expected = extract_residuals(plain, PROMPTS)
    with added_to_stream(spread, torch.ones(32), 2, 1.0):
        assert torch.equal(extract_residuals(spread, PROMPTS), expected)


def test_a_model_in_memory_is_not_spread(folder: Path, tmp_path: Path) -> None:
    for where in (CPU, "cpu", Where(None, str(tmp_path / "offload")), Where(None, str(tmp_path / "offload"), "cpu")):
        model = load_model(folder, "float32", where)
        assert not is_spread(model)
        assert not is_offloaded(model)
        assert input_device(model) == pass_device(model) == CPU
    assert not (tmp_path / "offload").exists()


def test_a_model_larger_than_the_free_memory_is_spread(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    monkeypatch.setattr(placement, "free_memory", lambda: int(1.25 * size) + 1)
    assert memory_to_spread_over(Where(None, str(tmp_path)), size) is None
    monkeypatch.setattr(placement, "free_memory", lambda: size)
    monkeypatch.setattr(placement, "_free_by_device", lambda: {"cpu": size // 2})
    with caplog.at_level(logging.INFO):
        model = load_model(folder, "float32", Where(None, str(tmp_path / "offload")))
    assert is_offloaded(model)
    assert "is spread over all GPUs, then memory, then disk" in caplog.text
    assert "disk 0 MB" in caplog.text


def test_the_memory_that_weights_may_take_leaves_room_for_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {0: 1000, "cpu": 500})
    assert placement._free_by_device() == {0: 800, "cpu": 400}


def test_spreading_needs_accelerate(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(
        UnwriteError, match=r"^A model larger than one device needs accelerate: pip install 'unwrite\[pipeline\]'\.$"
    ):
        load_model(folder, "float32", Where({"cpu": 0}, str(tmp_path / "offload")))


def test_changed_weights_are_kept_until_the_model_is_gone(tmp_path: Path) -> None:
    zoo_model("mixtral").save_pretrained(tmp_path / "model")
    plain = load_model(tmp_path / "model", "float32", CPU)
    model = load_model(tmp_path / "model", "float32", Where({"cpu": 0}, str(tmp_path / "offload")))
    (folder,) = (tmp_path / "offload").iterdir()
    assert any(folder.iterdir())  # the experts, which the checkpoint holds one by one
    assert torch.equal(extract_residuals(model, PROMPTS), extract_residuals(plain, PROMPTS))
    del model
    gc.collect()
    assert not folder.exists()


def test_an_offload_folder_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    zoo_model("mixtral").save_pretrained(tmp_path / "model")
    monkeypatch.setattr("transformers.integrations.accelerate.save_file", full)
    with pytest.raises(UnwriteError, match=r"runtime\.offload_folder \(.*offload\) has no room"):
        load_model(tmp_path / "model", "float32", Where({"cpu": 0}, str(tmp_path / "offload")))
    assert not any((tmp_path / "offload").iterdir())


def test_an_offload_folder_that_is_a_file_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "offload").write_text("")
    with pytest.raises(UnwriteError, match=r"runtime\.offload_folder \(.*offload\) cannot be written: File exists"):
        load_model(folder, "float32", Where({"cpu": 0}, str(tmp_path / "offload")))


def test_of_offloaded_parameters_vectors_are_read_and_matrices_found_on_disk(folder: Path, tmp_path: Path) -> None:
    norm, matrix = "model.norm.weight", "model.layers.1.mlp.down_proj.weight"
    plain = load_model(folder, "float32", CPU)
    model = load_model(folder, "float32", Where({"cpu": 0}, str(tmp_path / "offload")))
    values = parameters_of(model, [norm, matrix])
    assert torch.equal(values[norm], plain.get_parameter(norm))
    assert values[matrix].is_meta
    layout = ParameterLayout(
        parameter=matrix, axis=0, num_matrices=1, stored=[StoredLayout(tensor=matrix, axis=0, num_matrices=1)]
    )
    whole = torch.cat([block for _, block in blocks_of_model(values, folder)(layout)()])
    assert torch.equal(whole, plain.get_parameter(matrix))
    with (
        pytest.raises(UnwriteError, match=f"{matrix}, which is offloaded"),
        patched_parameters(model, {matrix: whole}),
    ):
        pass


def test_the_divergence_of_an_offloaded_model_is_that_of_the_model(folder: Path, tmp_path: Path) -> None:
    plain = load_model(folder, "float32", CPU)
    model = load_model(folder, "float32", Where({"cpu": 0}, str(tmp_path / "offload")))
    forced = teacher_force(plain, PROMPTS, generate_greedily(plain, PROMPTS, 4))
    with added_to_stream(plain, torch.ones(32), 2, 0.5):
        expected = measure_kl(plain, forced)
    with added_to_stream(model, torch.ones(32), 2, 0.5):
        assert measure_kl(model, forced) == expected
    assert max(expected.response) > 0


def test_sizes_are_said_as_people_say_them() -> None:
    assert [size_text(size) for size in (12e6, 1.25e9, 140e9)] == ["12 MB", "1.2 GB", "140.0 GB"]


def test_existing_device_is_returned() -> None:
    assert pick_device("cpu") == pick_device(CPU) == CPU
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("name", ["teapot", "", "cuda:99", "cpu:x"])
def test_missing_device_is_an_error(name: str) -> None:
    with pytest.raises(
        UnwriteError,
        match=r"^runtime.device must be a device of this machine, got '.*' \(.*\)\. Set it to auto or cpu\.$",
    ):
        pick_device(name)
