import logging
import sys

import click
import pytest
from click.testing import CliRunner

from unwrite.commands.running import expected_errors
from unwrite.errors import UnwriteError
from unwrite.pipeline.start import INTERRUPTED


def command_that(raises: BaseException) -> click.Command:
    @click.command("steep")
    @expected_errors
    def steep() -> None:
        logging.getLogger("unwrite.test").warning("the water is cold")
        raise raises

    return steep


def test_an_expected_error_is_one_line_and_exit_code_1() -> None:
    result = CliRunner().invoke(command_that(UnwriteError("the pot must be full. Fill it")))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "error: the pot must be full. Fill it"
    assert "the water is cold" in result.stderr


def test_a_bug_keeps_its_traceback() -> None:
    bug = ZeroDivisionError()
    assert CliRunner().invoke(command_that(bug)).exception is bug


def test_interrupting_is_no_error() -> None:
    result = CliRunner().invoke(command_that(KeyboardInterrupt()))
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (INTERRUPTED, "Interrupted.")


def test_a_package_of_an_extra_is_named_and_any_other_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = CliRunner().invoke(command_that(ModuleNotFoundError("No module named 'optuna'", name="optuna")))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: unwrite steep needs Optuna: pip install")
    other = ModuleNotFoundError("No module named 'kettle'", name="kettle")
    assert CliRunner().invoke(command_that(other)).exception is other


def test_a_file_that_the_system_refuses_is_one_line_and_a_missing_one_is_a_bug() -> None:
    result = CliRunner().invoke(command_that(PermissionError(13, "Permission denied", "pot/leaves.txt")))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "error: pot/leaves.txt: Permission denied. Fix the permissions, then try again."
    )
    missing = FileNotFoundError(2, "No such file or directory", "pot/leaves.txt")
    assert CliRunner().invoke(command_that(missing)).exception is missing
