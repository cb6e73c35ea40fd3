import os
import pkgutil
import re
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from unwrite import commands
from unwrite.cli import main


def defined_commands() -> dict[str, click.Command]:
    modules = [import_module(f"unwrite.commands.{module.name}") for module in pkgutil.iter_modules(commands.__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, click.Command)]
    return {command.name or "": command for command in found}


def test_every_command_is_offered() -> None:
    assert main.commands == defined_commands()


def test_help_lists_every_command_with_one_sentence() -> None:
    result = CliRunner().invoke(main, ["--help"], terminal_width=120)
    assert result.exit_code == 0
    listed = dict(re.findall(r"^  ([\w-]+)  +(\S.*)$", result.stdout.split("Commands:")[1], flags=re.MULTILINE))
    assert listed.keys() == main.commands.keys()
    assert all(len(text) > 20 for text in listed.values())


def test_the_version_is_printed() -> None:
    assert re.match(r"main, version \d+\.\d+\.\d+\n", CliRunner().invoke(main, ["--version"]).stdout)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", ["--help", "--version", "verify --help", "diff --help"])
def test_help_on_a_full_output_is_one_line(arguments: str) -> None:
    done = subprocess.run(
        f'"$PYTHON" -m unwrite.cli {arguments} > /dev/full',
        shell=True,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHON": sys.executable},
    )
    assert done.stderr.decode() == "error: the output cannot be written (No space left on device).\n"
    assert done.returncode == 1


def test_help_is_whole_where_the_output_has_room() -> None:
    command = [sys.executable, "-m", "unwrite.cli", "verify", "--help"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode().startswith("Usage: ")
    assert done.stderr == b""
