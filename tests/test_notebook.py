"""docs/notebook.md runs from top to bottom, and what it shows is true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/notebook.md").read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Names that the notebook defined, after it has run in a copy of the project's data."""
    folder = tmp_path_factory.mktemp("notebook")
    for name in ("demo/model", "prompts"):
        shutil.copytree(ROOT / name, folder / name)
    names: dict[str, Any] = {"folder_of_the_run": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, block in enumerate(BLOCKS, 1):
            exec(compile(block, f"docs/notebook.md, block {number}", "exec"), names)
    return names


def test_the_behaviour_is_there_and_goes(notebook: dict[str, Any]) -> None:
    assert notebook["rate_before"] > 0.9
    assert notebook["rate_after"] < 0.3


def test_adding_the_direction_brings_the_behaviour_out(notebook: dict[str, Any]) -> None:
    assert notebook["rate_added"] > 0.5


def test_the_model_is_as_it_was_after_the_edit(notebook: dict[str, Any]) -> None:
    assert notebook["answers"](notebook["target_validation"][:5]) != []
    rate = notebook["unwrite"].behaviour_rate(notebook["answers"](notebook["target_validation"]), notebook["markers"])
    assert rate == notebook["rate_before"]


def test_what_was_saved_is_verified(notebook: dict[str, Any]) -> None:
    assert notebook["found"].passed
    assert notebook["found"].complete


def test_the_picture_is_drawn_and_its_copy_is_in_the_docs(notebook: dict[str, Any]) -> None:
    assert (notebook["folder_of_the_run"] / "separation.svg").stat().st_size > 1000
    assert (ROOT / "docs/images/separation.svg").is_file()
