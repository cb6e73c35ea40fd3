"""A GGUF file is dequantized once, into a folder that is made again if it is missing or is not as it was made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.gguf_files import write_gguf
from tests.support.samples import sample_base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of, sha256_of
from unwrite.pipeline import dequantized
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.dequantized import STATE, dequantized_folder, write_dequantized
from unwrite.schema.artifacts import Base

FILE = Path("kettle.gguf")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GGUF file and what became of it."""
    folder = tmp_path_factory.mktemp("made")
    here = Path.cwd()
    os.chdir(folder)
    dequantized_folder(write_gguf(FILE))
    os.chdir(here)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sums(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def pinned() -> Base:
    """The record of the model."""
    folder, origin = dequantized_folder(FILE)
    files = [digest_of(path) for path in sorted(folder.iterdir())]
    return sample_base(source=str(FILE), commit=None, files=files, gguf=origin)


def test_the_folder_is_named_after_the_file_and_says_what_made_it(project: Path) -> None:
    folder, origin = dequantized_folder(FILE)
    assert origin.model_dump() == digest_of(FILE).model_dump() | {"transformers": origin.transformers}
    assert folder == STATE / f"{sha256_of(FILE)}-{origin.transformers}"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= sums(folder).keys()


def test_it_is_made_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = times(dequantized_folder(FILE).folder)
    FILE.rename("elsewhere.gguf")
    assert times(dequantized_folder(Path("elsewhere.gguf")).folder) == before


@pytest.mark.parametrize("damage", ["remove", "shorten", "add", "forget"])
def test_a_folder_that_is_not_as_it_was_made_is_made_again_with_the_same_bytes(project: Path, damage: str) -> None:
    folder, _ = dequantized_folder(FILE)
    before, weights, record = sums(folder), folder / "model.safetensors", folder.with_name(f"{folder.name}.json")
    match damage:
        case "remove":
            shutil.rmtree(folder)
        case "shorten":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "add":
            (folder / "more.safetensors").touch()
        case "forget":
            record.unlink()
    assert sums(dequantized_folder(FILE).folder) == before
    assert record.is_file()


def test_another_file_has_another_folder(project: Path) -> None:
    first = dequantized_folder(FILE).folder
    data = bytearray(FILE.read_bytes())
    data[-1] ^= 1
    FILE.write_bytes(data)
    second = dequantized_folder(FILE).folder
    assert sums(first)["model.safetensors"] != sums(second)["model.safetensors"]


def test_too_little_room_and_a_damaged_file_leave_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(STATE)
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(UnwriteError, match=r"needs 50 MB but only 1 MB are free: free some space and run again"):
        dequantized_folder(FILE)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    FILE.write_bytes(FILE.read_bytes()[:-100])
    with pytest.raises(UnwriteError, match="cut short or damaged, get it again"):
        dequantized_folder(FILE)
    assert {path.suffix for path in STATE.iterdir()} <= {".lock", ".pid"}
    with pytest.raises(UnwriteError, match=r"none\.gguf is missing: expected a GGUF file"):
        dequantized_folder(Path("none.gguf"))


def test_a_second_process_is_refused(project: Path) -> None:
    folder, _ = dequantized_folder(FILE)
    shutil.rmtree(folder)
    with (
        FileLock(folder.with_name(f"{folder.name}.lock")),
        pytest.raises(UnwriteError, match=r"kettle\.gguf is already being dequantized \(process .*\): wait"),
    ):
        dequantized_folder(FILE)


def test_a_pinned_model_needs_the_file_only_where_the_folder_is_missing(project: Path) -> None:
    base = pinned()
    folder = pinned_folder(base)
    FILE.rename("elsewhere.gguf")
    assert pinned_folder(base) == folder
    shutil.rmtree(folder)
    with pytest.raises(UnwriteError, match=r"kettle\.gguf is missing: expected a GGUF file"):
        pinned_folder(base)
    Path("elsewhere.gguf").rename(FILE)
    assert pinned_folder(base) == folder


def test_a_pinned_model_is_not_made_of_another_file(project: Path) -> None:
    base = pinned()
    shutil.rmtree(STATE)
    with FILE.open("ab") as file:
        file.write(b"more")
    with pytest.raises(UnwriteError, match=r"kettle\.gguf has sha256 .* pinned from one with .* repro -f pin_model"):
        pinned_folder(base)


def test_another_version_of_transformers_is_named_where_it_makes_other_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pinned()
    shutil.rmtree(STATE)
    monkeypatch.setattr(dequantized, "version", lambda _: "9.0.0")
    assert pinned_folder(base).name.endswith("-9.0.0")  # the same bytes, so it is the same model
    other = base.files[0].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(UnwriteError, match=r"was pinned with 0{12}…") as error:
        pinned_folder(base.model_copy(update={"files": [other, *base.files[1:]]}))
    assert base.gguf is not None
    assert str(error.value).endswith(f"\nIt was made by transformers {base.gguf.transformers}, and this is 9.0.0.")


def test_a_copy_of_the_project_uses_the_folder_of_the_original(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path_factory.mktemp("copy")
    for folder in (project, copy):
        (folder / ".dvc").mkdir()
    base = pinned()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert pinned_folder(base).is_relative_to(project)
    assert not (copy / STATE).exists()


def test_a_folder_is_written_on_request_and_none_is_overwritten(project: Path) -> None:
    write_dequantized(FILE, project / "model")
    assert sums(project / "model") == sums(dequantized_folder(FILE).folder)
    with pytest.raises(UnwriteError, match="model exists: name a new folder, or remove it"):
        write_dequantized(FILE, project / "model")
