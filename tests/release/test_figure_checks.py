"""The figures of a release agree with each other, with the parameters, and with the card's metadata."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.published import make_published, read_record, write_record
from tests.support.releases import Release
from unwrite.core.intervals import wilson_interval
from unwrite.release.figure_checks import check_figures
from unwrite.release.manifest import read_manifest


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_published(tmp_path_factory.mktemp("published"))


@pytest.fixture
def folder(made_once: Release, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once.folder, tmp_path / "release"))


def failure(folder: Path, name: str, place: list[Any], value: object) -> str:
    """The failure of the check, with one value of a record changed."""
    record = read_record(folder / name)
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    write_record(folder / name, record)
    return "\n".join(check_figures(folder, read_manifest(folder)).details)


def test_honest_figures_agree(folder: Path) -> None:
    check = check_figures(folder, read_manifest(folder))
    assert (check.outcome, check.details) == ("passed", [])


RATE = ["edited", "target", "behaviour_rate"]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ([*RATE, "value"], 0.01, "has the interval"),
        ([*RATE, "value"], 0.0123, "is no share of"),
        ([*RATE, "low"], 0.0, "but Wilson's is"),
        ([*RATE, "n"], 0, "successes must be between"),
        ([*RATE, "n"], 7, "counts 7 responses"),
        (["confidence"], 0.5, "in the parameters"),
        (["kl_response"], -1.0, "kl_response is negative"),
        (["kl_response"], 0.5, "model-index of the card does not agree"),
        (["format"], 7, "a newer unwrite reads"),
    ],
)
def test_changed_figure_fails(place: list[Any], value: object, message: str, folder: Path) -> None:
    assert message in failure(folder, "evaluation.json", place, value)


@pytest.mark.parametrize("key", ["model-index", "tags", "library_name", "base_model"])
def test_changed_metadata_of_the_card_fails(key: str, folder: Path) -> None:
    assert f"{key} of the card does not agree" in failure(folder, "README.md", [key], "x")


def test_intervals_are_roughly_checked_without_scipy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    wilson_interval.cache_clear()  # what it has computed before needs no scipy
    assert check_figures(folder, read_manifest(folder)).outcome == "passed"
    assert "outside its interval" in failure(folder, "evaluation.json", [*RATE, "low"], 0.9)


def test_release_without_figures_is_not_checked(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    assert check_figures(folder, read_manifest(folder)).outcome == "not checked"
