"""A model is compared with free memory and disk, in its folder or as pinned."""

import shutil
from pathlib import Path

import pytest

from tests.support.example import ROOT
from unwrite.doctor.room import examine_room, free_room, weights_of
from unwrite.schema.artifacts import read_base

GB = 10**9


def weights(memory: float, disk: float, copies: int = 1, *, spreads: bool = False) -> list[str]:
    findings = examine_room(10 * GB, memory=int(memory * GB), disk=int(disk * GB), copies=copies, spreads=spreads)
    return [finding.severity for finding in findings]


def test_what_fits_is_fine_and_what_does_not_stops() -> None:
    assert weights(20, 11) == ["ok", "ok"]
    assert weights(11, 11) == ["note", "ok"]  # the weights fit, and nothing else
    assert weights(9, 11) == ["stop", "ok"]
    assert weights(20, 9) == ["ok", "stop"]
    assert weights(20, 11, spreads=True) == ["ok", "ok"]
    assert weights(9, 11, spreads=True) == ["note", "ok"]


def test_a_cache_that_copies_needs_twice_the_disk() -> None:
    assert weights(20, 15, copies=1) == ["ok", "ok"]
    assert weights(20, 15, copies=2) == ["ok", "stop"]


def test_the_size_of_a_model_is_that_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = (ROOT / "demo/model/model.safetensors").stat().st_size
    assert weights_of(str(ROOT / "demo/model")) == stored
    monkeypatch.chdir(tmp_path)
    assert weights_of("you/your-model") is None
    (tmp_path / "artifacts").mkdir()
    shutil.copy(ROOT / "artifacts/base.json", "artifacts")
    assert weights_of(read_base().source) == stored  # its folder is not here, and the record is
    assert weights_of("you/your-model") is None  # another than the one that was pinned


def test_this_machine_has_room() -> None:
    memory, disk = free_room("cpu")
    assert memory > 0
    assert disk > 0
