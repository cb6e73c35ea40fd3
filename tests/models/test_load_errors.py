"""What goes wrong when a model is loaded is one line; what is no fault of the files keeps its traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from unwrite.errors import UnwriteError
from unwrite.models.load_errors import REMOTE_CODE_VARIABLE, load_errors, trust_remote_code, within_memory


@pytest.mark.parametrize("error", [OSError("no\nfile"), KeyError("vocab"), SafetensorError("header"), RuntimeError()])
def test_an_error_of_the_library_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(UnwriteError, match=r"^pot: cannot load the lid: ") as raised,
        load_errors("pot: cannot load the lid"),
    ):
        raise error
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [ZeroDivisionError(), UnwriteError("known"), KeyboardInterrupt()])
def test_any_other_error_stays(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, load_errors("pot"):
        raise error
    assert raised.value is error


def test_code_that_may_not_run_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match=f"Set {REMOTE_CODE_VARIABLE}=1 if you trust that code"), load_errors("pot"):
        raise ValueError("please pass the argument trust_remote_code=True\nand so on")
    for value, allowed in (("1", True), ("true", False), ("", False)):
        monkeypatch.setenv(REMOTE_CODE_VARIABLE, value)
        assert trust_remote_code() is allowed


def test_a_lack_of_memory_names_the_device() -> None:
    both = (load_errors("pot: cannot load"), within_memory(Path("pot"), torch.device("cuda", 1)))
    with pytest.raises(UnwriteError, match=r"^pot does not fit in the memory of cuda:1\."), both[0], both[1]:
        raise torch.OutOfMemoryError("CUDA out of memory")
