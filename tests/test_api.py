"""The Python API: it is light to import, it offers what it lists, and every example in a docstring runs."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unwrite
from unwrite import api

ROOT = Path(__file__).parents[1]
FUNCTIONS = [name for name in api.__all__ if inspect.isfunction(getattr(api, name))]


def test_import_unwrite_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "pydantic", "unwrite.api")
    script = f"import sys, unwrite; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_package_offers_every_name_of_the_api() -> None:
    assert dir(unwrite) == sorted(api.__all__)
    for name in api.__all__:
        assert getattr(unwrite, name) is getattr(api, name)


@pytest.mark.parametrize("name", ["load_modle", "_hidden", "import_module_of_nothing"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'unwrite' has no attribute '{name}'"):
        getattr(unwrite, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = inspect.unwrap(getattr(api, name))
    names = {other: getattr(api, other) for other in api.__all__} | {"torch": torch, "Path": Path, "tmp_path": tmp_path}
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    assert example.examples, f"{name} has no example"
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed
    assert not failed, capsys.readouterr().out
