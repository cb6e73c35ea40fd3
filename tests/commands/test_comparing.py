"""unwrite compare: one page for two releases, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.report_pages import sample_evaluation, sample_verdict
from tests.support.sides import recipe, vectors
from unwrite.cli import main
from unwrite.files.records import write_jsonl
from unwrite.files.tensors import write_tensors
from unwrite.schema.artifacts import as_json


def release(folder: Path, value: float) -> Path:
    folder.mkdir()
    write_tensors(folder / "directions.safetensors", vectors(value), {})
    (folder / "edit.json").write_text(recipe().model_dump_json())
    (folder / "evaluation.json").write_text(sample_evaluation().model_dump_json())
    return folder


def test_two_releases_are_compared_on_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    release(tmp_path / "one", 1.0)
    release(tmp_path / "two", 2.0)
    result = CliRunner().invoke(main, ["compare", "one", "two"])
    assert (result.exit_code, result.stdout) == (0, "The comparison is in compare.html.\n")
    html = (tmp_path / "compare.html").read_text()
    assert "<title>one and two compared</title>" in html
    assert "spec-strength_mlp" in html
    assert "Figures of both" in html
    assert "A and B have no stored responses: a release holds none" in html


def with_responses(folder: Path, shown: Sequence[bool], markers: str = "sorry\n") -> None:
    """What a project has beside the files of a release: responses to six prompts, judged."""
    (folder / "params.yaml").write_text("judge:\n  markers: prompts/markers.txt\n")
    (folder / "markers.txt").write_text(markers)
    rows = [{"prompt": f"question {number}", "response": "sorry" if hit else "yes"} for number, hit in enumerate(shown)]
    for model in ("base", "edited"):
        write_jsonl(folder / f"responses/{model}.target.jsonl", rows)
        write_jsonl(folder / f"verdicts/{model}.target.jsonl", [as_json(sample_verdict(hit)) for hit in shown])


def test_rates_of_the_same_prompts_are_tested_in_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_responses(release(tmp_path / "one", 1.0), [True] * 6)
    with_responses(release(tmp_path / "two", 2.0), [False] * 5 + [True])
    with_responses(release(tmp_path / "other", 2.0), [False] * 6, markers="another\n")
    assert CliRunner().invoke(main, ["compare", "one", "two"]).exit_code == 0
    html = (tmp_path / "compare.html").read_text()
    assert '<td class="number">5 / 0</td><td class="number">0.19</td>' in html  # 2 / 2⁵, times three rates
    assert "Not tested" not in html
    assert CliRunner().invoke(main, ["compare", "one", "other"]).exit_code == 0
    html = (tmp_path / "compare.html").read_text()
    assert "Only A / only B" not in html
    assert "target: other markers or another classifier judged the responses." in html


def test_parameters_that_name_files_elsewhere_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        with_responses(release(tmp_path / name, 1.0), [True] * 6)
        (tmp_path / name / "params.yaml").write_text("judge:\n  markers: ..\n")
    assert CliRunner().invoke(main, ["compare", "one", "two"]).exit_code == 0
    assert "target: it is not known what judged the responses." in (tmp_path / "compare.html").read_text()


def test_a_side_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    release(tmp_path / "one", 1.0)
    result = CliRunner().invoke(main, ["compare", "one", "three", "--output", "page.html"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'three' is neither a file nor a folder")
    assert not (tmp_path / "page.html").exists()
