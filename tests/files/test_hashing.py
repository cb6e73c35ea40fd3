"""A pinned file that changed by one byte is named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.hashing import PairedSums, digest_of, sha256_of, verify_files

DATA = bytes(range(256)) * 100


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(DATA)
    return path


def test_a_digest_is_name_size_and_sha256(file: Path) -> None:
    record = digest_of(file)
    assert (record.name, record.size, record.sha256) == ("weights", len(DATA), hashlib.sha256(DATA).hexdigest())


def test_the_sha256_of_a_published_example(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("position", [0, 12_345, len(DATA) - 1, None])
def test_files_read_side_by_side_have_the_sums_of_each_wherever_they_begin_to_differ(position: int | None) -> None:
    other = bytearray(DATA)
    if position is not None:
        other[position] ^= 1
    sums = PairedSums()
    for start in range(0, len(DATA), 700):
        sums.update(DATA[start : start + 700], bytes(other[start : start + 700]))
    assert sums.hexdigests() == (hashlib.sha256(DATA).hexdigest(), hashlib.sha256(other).hexdigest())


def test_what_two_files_begin_with_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    class Counted:
        def update(self, data: bytes) -> None:
            hashed.append(data)

        def copy(self) -> Counted:
            return Counted()

    monkeypatch.setattr(hashlib, "sha256", Counted)
    sums = PairedSums()
    for pair in ((b"same", b"same"), (b"one", b"two"), (b"same", b"same")):
        sums.update(*pair)
    assert hashed == [b"same", b"one", b"two", b"same", b"same"]


def test_unchanged_files_pass(file: Path) -> None:
    (file.parent / "more").write_bytes(b"not recorded")
    verify_files(file.parent, [digest_of(file)])


@pytest.mark.parametrize("position", [0, 12_345, len(DATA) - 1])
def test_a_file_with_one_changed_byte_is_named(file: Path, position: int) -> None:
    record = digest_of(file)
    changed = bytearray(DATA)
    changed[position] ^= 1
    file.write_bytes(changed)
    with pytest.raises(UnwriteError) as caught:
        verify_files(file.parent, [record])
    assert f"{file} has sha256 {sha256_of(file)[:12]}…, but was pinned with {record.sha256[:12]}…" in str(caught.value)
    assert "dvc repro -f pin_model" in str(caught.value)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_a_file_of_another_size_is_named(file: Path, data: bytes) -> None:
    record = digest_of(file)
    file.write_bytes(data)
    with pytest.raises(UnwriteError, match=f"weights has {len(data)} bytes, but was pinned with {len(DATA)}"):
        verify_files(file.parent, [record])


def test_a_missing_file_is_named(file: Path) -> None:
    record = digest_of(file)
    file.unlink()
    with pytest.raises(UnwriteError, match=r"weights is missing, but the model was pinned with it. Restore the file"):
        verify_files(file.parent, [record])


def test_the_first_wrong_file_of_several_is_named(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"1")
    records = [digest_of(file), digest_of(other)]
    other.write_bytes(b"2")
    with pytest.raises(UnwriteError, match="other has sha256"):
        verify_files(file.parent, records)
