"""A folder with the demo's model, and the record of it."""

import shutil
from pathlib import Path

import pytest

from tests.support.small_project import ROOT
from unwrite.files.hashing import digest_of
from unwrite.schema.artifacts import Base


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the demo's model, as the current one."""
    shutil.copytree(ROOT / "demo/model", tmp_path / "demo/model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def base(**changes: object) -> Base:
    """Return the record of the demo's model, without what is not read here."""
    files = [digest_of(path) for path in sorted((ROOT / "demo/model").iterdir()) if path.is_file()]
    fields: dict[str, object] = {
        "source": "demo/model",
        "commit": None,
        "gguf": None,
        "files": files,
        "compute_dtype": "auto",
        "quantization": "none",
        "padding_sensitive": False,
    }
    return Base.model_construct(**fields | changes)  # type: ignore[arg-type]
