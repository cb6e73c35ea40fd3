"""Expected errors say what to do; what is not expected stays as it is."""

import errno
import os
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from unwrite.errors import (
    _OPTIONAL,
    UnwriteError,
    as_user_error,
    git_refusal,
    is_out_of_memory,
    missing_package,
    reason_of,
    refused_file,
)

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("module", ["dvc", "dvc.api"])
def test_a_missing_package_is_named_with_the_extra_that_installs_it(module: str) -> None:
    error = missing_package("unwrite diff", ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(error, UnwriteError)
    assert str(error) == "unwrite diff needs DVC: pip install 'unwrite[pipeline]'."


@pytest.mark.parametrize("module", ["unwrite.typo", "dvcx", None])
def test_any_other_missing_module_is_a_bug(module: str | None) -> None:
    error = ModuleNotFoundError("No module named …", name=module)
    assert missing_package("unwrite diff", error) is error


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EACCES, "Fix the permissions"),
        (errno.EROFS, "Fix the permissions"),
        (errno.ENAMETOOLONG, "Shorten the name"),
        (errno.ELOOP, "Remove the link that leads back to itself"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_file_that_the_system_refuses_is_named_with_the_reason_and_the_remedy(number: int, remedy: str) -> None:
    reason = os.strerror(number)
    error = refused_file(OSError(number, reason, "pot/leaves.txt"))
    assert isinstance(error, UnwriteError)
    assert str(error) == f"pot/leaves.txt: {reason}. {remedy}, then try again."
    assert str(refused_file(OSError(number, reason))) == f"{reason}. {remedy}, then try again."


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EBADF, None])
def test_any_other_error_of_the_system_is_a_bug(number: int | None) -> None:
    error = OSError() if number is None else OSError(number, os.strerror(number), "pot")
    assert refused_file(error) is error


def test_every_package_of_an_extra_is_known_and_no_other() -> None:
    installs = {
        extra: {Requirement(line).name.lower() for line in PROJECT["optional-dependencies"][extra]}
        for extra in ("pipeline", "quantized", "signing", "benchmarks", "datasets", "maps", "cluster")
    }
    named = {(package.lower(), extra) for package, extra in _OPTIONAL.values()}
    assert {package for package, _ in named} == set().union(*installs.values())
    assert all(package in installs[extra] for package, extra in named)


def test_gits_refusal_is_one_line_with_the_remedy_for_another_owner() -> None:
    told = "fatal: detected dubious ownership in repository at '/a b'\nTo add an exception for it, call:\n\n\tx"
    assert str(git_refusal(told)) == (
        "git refuses to read this repository: detected dubious ownership in repository at '/a b'. "
        "If you trust its owner, run `git config --global --add safe.directory '/a b'`."
    )
    assert str(git_refusal("fatal: bad index\n")) == "git refuses to read this repository: bad index."


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(ValueError("two\n  lines")) == "two lines"
    assert reason_of(ValueError()) == "ValueError"
    assert len(reason_of(ValueError("word " * 100))) <= 300


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_running_out_of_memory_is_recognized(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_value_error_becomes_one_line_with_its_remedy() -> None:
    with (
        pytest.raises(UnwriteError, match=r"^params\.yaml: rank must be at least 1, got 0\. Raise it\.$") as raised,
        as_user_error("params.yaml", "Raise it."),
    ):
        raise ValueError("rank must be at least 1, got 0")
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_remedy_is_optional() -> None:
    with pytest.raises(UnwriteError, match=r"^w: no rows\.$"), as_user_error("w"):
        raise ValueError("no rows")


@pytest.mark.parametrize("error", [UnwriteError("as it is"), RuntimeError("a bug"), KeyError("a bug")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, as_user_error("w", "Do something."):
        raise error
    assert raised.value is error


def test_nothing_is_raised_where_nothing_was() -> None:
    with as_user_error("w"):
        pass
