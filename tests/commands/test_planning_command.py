"""The command prints a plan of the project in the current folder."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.support.small_project import ROOT
from unwrite.cli import main


def test_the_plan_of_the_demo_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["plan", "--no-measure"])
    assert result.exit_code == 0
    assert "optimize_weights" in result.output
    assert "It fits." in result.output
