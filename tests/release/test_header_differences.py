"""Headers of two checkpoints: read as far as possible, and every difference described."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unwrite.files.checkpoints import INDEX_FILE, stored_tensors
from unwrite.release.header_differences import (
    header_differences,
    index_problems,
    readable_shards,
    tensors_by_name,
)

BASE, RELEASE = Path("base"), Path("release")
SHARDS = {"1.safetensors": {"a": torch.ones(3), "b": torch.ones(4)}, "2.safetensors": {"c": torch.ones(5)}}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(BASE, SHARDS)


def write(folder: Path, shards: dict[str, dict[str, Tensor]], metadata: str = "pt") -> None:
    folder.mkdir()
    for name, tensors in shards.items():
        save_file(tensors, folder / name, {"format": metadata})
    weight_map = {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))


def differences() -> list[str]:
    shards, problems = readable_shards(RELEASE, list(SHARDS))
    return [*problems, *header_differences(RELEASE, BASE, stored_tensors(BASE), shards)]


def test_equal_headers_have_no_differences() -> None:
    write(RELEASE, {shard: {name: 2 * values for name, values in held.items()} for shard, held in SHARDS.items()})
    assert differences() == []
    assert index_problems(RELEASE) == []


def test_every_kind_of_difference_is_described() -> None:
    write(
        RELEASE,
        {"1.safetensors": {"a": torch.ones(3).half(), "b": torch.ones(2, 2)}, "3.safetensors": {"c": torch.ones(5)}},
    )
    assert differences() == [
        "2.safetensors is missing",
        "3.safetensors is not a shard of the base",
        "a is stored as F16, the base's as F32",
        "b has shape [2, 2], the base's [4]",
        "c is in 3.safetensors, the base's in 2.safetensors",
        "1.safetensors holds 2 tensors at other offsets than the base, for example b",
    ]


def test_other_metadata_is_a_difference() -> None:
    write(RELEASE, SHARDS, metadata="tf")
    assert [line.split(" has ")[0] for line in differences()] == [
        "the header of 1.safetensors",
        "the header of 2.safetensors",
    ]


def test_a_damaged_shard_does_not_hide_the_others() -> None:
    write(RELEASE, SHARDS)
    (RELEASE / "1.safetensors").write_bytes(b"")
    shards, problems = readable_shards(RELEASE, list(SHARDS))
    assert list(shards) == ["2.safetensors"]
    assert len(problems) == 1


def test_an_index_that_disagrees_with_the_headers_is_reported() -> None:
    write(RELEASE, SHARDS)
    index = json.loads((RELEASE / INDEX_FILE).read_text())
    index["weight_map"]["a"] = "2.safetensors"
    (RELEASE / INDEX_FILE).write_text(json.dumps(index))
    assert differences() == []
    (problem,) = index_problems(RELEASE)
    assert "2.safetensors holds a" in problem


def test_of_a_name_that_occurs_twice_the_first_shard_counts() -> None:
    write(RELEASE, SHARDS | {"2.safetensors": {"a": torch.ones(7), "c": torch.ones(5)}})
    shards, _ = readable_shards(RELEASE, list(SHARDS))
    assert tensors_by_name(shards)["a"].shape == (3,)
    assert "a is in 1.safetensors and in 2.safetensors" in differences()
