"""Checking params.yaml: what is wrong is an error, what is odd is a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.derive_pipeline import EXAMPLES
from tests.support.small_project import ROOT
from unwrite.errors import UnwriteError
from unwrite.models import compute_dtype
from unwrite.pipeline.check import check_params


@pytest.fixture
def params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's params.yaml, with its prompts in reach."""
    monkeypatch.chdir(ROOT)
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("folder", [ROOT, *EXAMPLES], ids=lambda path: path.name)
def test_the_project_and_its_examples_are_valid_without_a_note(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert check_params(Path("params.yaml")) == []


@pytest.mark.parametrize(("ratio", "noted"), [(8.04, True), (1.4, False)])
def test_a_dtype_that_this_machine_computes_slowly_is_noted_with_the_measured_ratio(
    ratio: float, noted: bool, params_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_dtype, "slowdown", lambda _dtype: ratio)
    assert check_params(params_file) == []  # auto
    replace(params_file, "dtype: auto ", "dtype: bfloat16 ")
    replace(params_file, "device: auto ", "device: cpu ")
    expected = ["this processor multiplies bfloat16 8.0 times as slowly as float32. Set model.dtype to auto."]
    assert check_params(params_file) == (expected if noted else [])


def test_accepting_what_the_search_stops_is_noted(params_file: Path) -> None:
    text = params_file.read_text()
    head, select, tail = text.partition("\nselect:")
    params_file.write_text(head + select + tail.replace("max_behaviour_rate: 0.01", "max_behaviour_rate: 0.10", 1))
    (note,) = check_params(params_file)
    assert "accepts trials above optimize.max_behaviour_rate, which the search stops" in note
    replace(params_file, "racing: true", "racing: false")
    assert check_params(params_file) == []


def test_aiming_above_what_is_accepted_is_noted(params_file: Path) -> None:
    replace(params_file, "max_behaviour_rate: 0.01", "max_behaviour_rate: 0.10")
    (note,) = check_params(params_file)
    assert note == "the search aims at a higher behaviour rate than select.max_behaviour_rate accepts."


def test_files_of_extra_sets_are_checked(params_file: Path, tmp_path: Path) -> None:
    used = (ROOT / "prompts/ordinary.jsonl").read_text().splitlines()[0]
    (tmp_path / "near.jsonl").write_text(f"{used}\n")
    replace(params_file, "prompts: prompts/near_misses.jsonl", f"prompts: {tmp_path}/near.jsonl")
    with pytest.raises(UnwriteError, match=r"near\.jsonl, line 1: the prompt .* is also in baseline train"):
        check_params(params_file)


def test_a_chat_template_must_be_there(params_file: Path, tmp_path: Path) -> None:
    replace(params_file, "\n  template: ", "\n  template: own.jinja")
    with pytest.raises(
        UnwriteError, match=r"own\.jinja cannot be read .*tokenize\.template must be null, raw or the path"
    ):
        check_params(params_file)
    (tmp_path / "own.jinja").write_text("{{ messages[0].content }}")
    replace(params_file, "template: own.jinja", f"template: {tmp_path}/own.jinja ")
    assert check_params(params_file) == []


def test_a_gate_on_an_unknown_figure_is_refused(params_file: Path) -> None:
    replace(params_file, "  gates: []", "  gates:\n  - kl_responses <= 0.2")
    with pytest.raises(UnwriteError, match=r"evaluate\.gates must name a figure .*did you mean kl_response"):
        check_params(params_file)


@pytest.mark.parametrize(
    ("gate", "best"),
    [
        ("edited.target.behaviour_rate.high <= 0.03", "100 prompts the best possible value is 0.037"),
        ("edited.near_misses.degenerate_rate.high < 0.07", "50 prompts the best possible value is 0.0713"),
        ("edited.baseline.reference_accuracy.low >= 0.99", "100 prompts the best possible value is 0.963"),
    ],
)
def test_a_gate_that_no_model_can_keep_is_refused(gate: str, best: str, params_file: Path) -> None:
    replace(params_file, "  gates: []", f"  gates:\n  - {gate}")
    with pytest.raises(UnwriteError, match=f"{gate} must be within reach, but with {best}"):
        check_params(params_file)


@pytest.mark.parametrize(
    "gate",
    [
        "edited.target.behaviour_rate.high <= 0.04",
        "edited.target.behaviour_rate <= 0",
        "base.target.behaviour_rate.low >= 0.96",
        "base.target.behaviour_rate.high >= 0.9",
        "kl_response.high <= 0.001",
    ],
)
def test_a_gate_within_reach_is_no_matter(gate: str, params_file: Path) -> None:
    replace(params_file, "  gates: []", f"  gates:\n  - {gate}")
    assert check_params(params_file) == []
