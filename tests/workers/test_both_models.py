"""The files of a release are those of its manifest; tests/stages/test_in_workers.py has the responses."""

import json
from pathlib import Path

import pytest

from tests.support.small_project import ROOT
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.workers.both_models import released_files

RELEASE = ROOT / "tests/data/releases/0.2/dense/rows"


def test_the_files_are_those_of_the_manifest() -> None:
    files = released_files(RELEASE)
    assert "model.safetensors" in {file.name for file in files}
    assert [digest_of(RELEASE / file.name) for file in files if (RELEASE / file.name).exists()] == [
        file for file in files if (RELEASE / file.name).exists()
    ]


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"subject": [{"name": "x"}]})])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "provenance.json").write_text(content)
    with pytest.raises(UnwriteError, match=r"provenance\.json cannot be read .*run `dvc repro merge_model` first"):
        released_files(tmp_path)
