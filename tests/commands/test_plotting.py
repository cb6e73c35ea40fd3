"""unwrite plots-page: what `dvc plots` writes afterwards is drawn in a browser without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import browser, requests_of
from tests.support.workspace import commit, run, unwrite
from unwrite.cli import main

_PIPELINE = """\
plots:
  - curve.csv:
      title: A curve
      template: linear
      x: step
      y: value
  - bars.csv:
      template: bar_horizontal
      x: value
      y: name
"""
_MARKS = "return document.querySelectorAll('svg .mark-line path, svg .mark-rect path').length"


def project(folder: Path) -> Path:
    """A project with two plots."""
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(_PIPELINE)
    (folder / "curve.csv").write_text("step,value\n0,1\n1,2\n2,4\n")
    (folder / "bars.csv").write_text("name,value\none,0.25\ntwo,0.5\n")
    return folder


@pytest.mark.slow
def test_plots_of_two_revisions_are_drawn_offline(tmp_path: Path) -> None:
    folder = project(tmp_path)
    assert "Commit .dvc/config and .dvc/plots." in unwrite(folder, "plots-page")
    assert "html_template = plots/page.html" in (folder / ".dvc/config").read_text()
    commit(folder)
    (folder / "curve.csv").write_text("step,value\n0,1\n1,3\n2,9\n")
    (folder / "deeper").mkdir()
    run(folder / "deeper", "dvc", "plots", "diff", "HEAD", "--out", str(folder / "shown"))
    with browser(tmp_path / "profile") as chrome:
        chrome.get((folder / "shown/index.html").as_uri())
        WebDriverWait(chrome, 20).until(lambda driver: driver.execute_script(_MARKS) >= 2 + 4)
        assert requests_of(chrome) == [chrome.current_url]
        assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
        assert "A curve" in chrome.find_element("id", "plots").text


def test_other_settings_of_dvc_stay(tmp_path: Path) -> None:
    folder = project(tmp_path)
    run(folder, "dvc", "config", "plots.out_dir", "elsewhere")
    unwrite(folder, "plots-page")
    config = (folder / ".dvc/config").read_text()
    assert "out_dir = elsewhere" in config
    assert "html_template = plots/page.html" in config


def test_outside_a_project_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["plots-page"])
    assert result.exit_code == 1
    assert result.stderr == "error: This is not a DVC project: run the command in the project's folder.\n"
    assert list(tmp_path.iterdir()) == []
