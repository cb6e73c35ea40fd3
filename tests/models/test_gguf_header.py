"""A header says what a GGUF file holds, and whether the file is whole, without its weights being read."""

import sys
from pathlib import Path

import pytest

from tests.support.gguf_files import tensors, write_gguf
from unwrite.errors import UnwriteError
from unwrite.models.gguf_header import is_gguf, read_gguf_header


def test_architecture_and_number_of_weights_are_those_of_the_file(tmp_path: Path) -> None:
    header = read_gguf_header(write_gguf(tmp_path / "tiny.gguf"))
    weights = sum(tensor.size for tensor in tensors().values())
    assert header == ("llama", weights)
    assert header.dequantized_bytes > 2 * weights
    less = read_gguf_header(write_gguf(tmp_path / "less.gguf", without="output_norm.weight"))
    assert less.weights < weights


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "empty"), (b"no such thing at all", "magic"), (b"GGUF", "out of bounds")]
)
def test_another_file_is_named_in_one_line(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "tea.gguf").write_bytes(data)
    with pytest.raises(UnwriteError, match=rf"tea\.gguf cannot be read .* \(.*{reason}.*get it again\.$") as error:
        read_gguf_header(tmp_path / "tea.gguf")
    assert "\n" not in str(error.value)


def test_a_file_without_its_last_byte_is_cut_short(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnwriteError, match="If it is cut short or damaged, get it again"):
        read_gguf_header(file)


def test_a_part_of_a_model_is_named_with_the_way_to_join_it(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tea-00001-of-00003.gguf", parts=3)
    with pytest.raises(UnwriteError, match=r"is one of 3 parts of a model\. Join them with `llama-gguf-split --merge`"):
        read_gguf_header(file)


def test_a_missing_file_or_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match=r"nowhere\.gguf is missing: expected a GGUF file"):
        read_gguf_header(tmp_path / "nowhere.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UnwriteError, match=r"needs gguf: pip install 'unwrite\[gguf\]'"):
        read_gguf_header(tmp_path / "nowhere.gguf")


def test_a_name_says_whether_it_is_one() -> None:
    assert is_gguf("models/Tea.Q4_0.GGUF")
    assert not is_gguf("teaware/gguf")
