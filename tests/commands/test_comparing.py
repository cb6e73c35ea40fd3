"""unwrite compare: one page for two releases, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.report_pages import sample_evaluation
from tests.support.sides import recipe, vectors
from unwrite.cli import main
from unwrite.files.tensors import write_tensors


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


def test_a_side_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    release(tmp_path / "one", 1.0)
    result = CliRunner().invoke(main, ["compare", "one", "three", "--output", "page.html"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'three' is neither a file nor a folder")
    assert not (tmp_path / "page.html").exists()
