"""A stage's record is read back as it was written; otherwise the stage to run again is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import sample_base, sample_writer
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.schema.artifacts import Base, FileDigest, as_json, read_artifact, read_base
from unwrite.schema.evaluation import Share

BASE = sample_base(
    [sample_writer(1, shape=(8, 4), bias=True, multiplier=0.1 + 0.2)],
    unexplained=1.2345678901234567e-7,
    files=[FileDigest(name="config.json", size=2, sha256="00" * 32)],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_json(tmp_path / "base.json", as_json(BASE))
    return tmp_path / "base.json"


def damaged(file: Path, key: str, value: object) -> Path:
    record = json.loads(file.read_text())
    record[key] = value
    file.write_text(json.dumps(record))
    return file


def message_of(file: Path) -> str:
    with pytest.raises(UnwriteError) as caught:
        read_artifact(Base, file, "pin_model")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip_is_exact(file: Path) -> None:
    assert read_artifact(Base, file, "pin_model") == BASE


def test_a_missing_file_names_the_stage(tmp_path: Path) -> None:
    assert (
        message_of(tmp_path / "base.json") == f"{tmp_path / 'base.json'} is missing: run `dvc repro pin_model` first."
    )


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("layers", "six", "layers"),
        ("layers", None, "layers"),
        ("surprise", 1, "surprise"),
        ("writers", [{"module": "w"}], "writers.0.layer"),
        ("files", [5], "files.0"),
    ],
)
def test_a_wrong_field_is_named_with_the_stage(file: Path, key: str, value: object, place: str) -> None:
    message = message_of(damaged(file, key, value))
    assert message.startswith(f"{file} is not a valid base ({place}: ")
    assert message.endswith("). Run `dvc repro -f pin_model`.")


@pytest.mark.parametrize(("version", "reader"), [(1, "unwrite 0.1"), (3, "a newer unwrite"), (0, "a newer unwrite")])
def test_a_record_of_another_format_names_the_version_that_reads_it(file: Path, version: int, reader: str) -> None:
    expected = f"{file} has format {version}, which {reader} reads; this version reads format 2. "
    assert message_of(damaged(file, "format", version)) == f"{expected}Run `dvc repro -f pin_model`."


def test_a_missing_key_is_named(file: Path) -> None:
    record = json.loads(file.read_text())
    del record["layers"]
    file.write_text(json.dumps(record))
    assert "(layers: Field required). Run `dvc repro -f pin_model`" in message_of(file)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 10_000])
def test_a_damaged_file_names_the_stage(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert message_of(file).startswith(f"{file} is not a valid base (the file: ")
    assert message_of(file).endswith("Run `dvc repro -f pin_model`.")


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_must_be_between_0_and_1(value: float) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        Share(value=value, low=0, high=1, n=10)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BASE.layers = 3  # type: ignore[misc]


def test_json_holds_plain_values_only() -> None:
    plain: dict[str, Any] = as_json(BASE)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["writers"][0]["shape"] == [8, 4]


def test_base_is_read_from_the_path_that_pinning_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnwriteError, match=r"^artifacts/base.json is missing: run `dvc repro pin_model` first"):
        read_base()
    write_json(tmp_path / "artifacts/base.json", as_json(BASE))
    assert read_base() == BASE
