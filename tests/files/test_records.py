"""JSON, JSON lines and CSV: values are read back unchanged, and a damaged file is named with its line."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.errors import UnwriteError
from unwrite.files.records import read_csv, read_jsonl, read_lines, write_csv, write_json, write_jsonl, write_text

# Any text that UTF-8 can encode, including newlines and line separators.
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\n\r\u2028\u2029\x85"\\,\ufeff'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(TEXT, VALUES, max_size=4), max_size=5))
def test_jsonl_is_read_back_unchanged(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_jsonl(Path(folder) / "x.jsonl", rows)
        assert read_jsonl(Path(folder) / "x.jsonl", required=[]) == rows


@given(VALUES)
def test_json_is_read_back_unchanged(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "x.json", value)
        assert json.loads((Path(folder) / "x.json").read_bytes()) == value


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(), TEXT.filter(lambda t: "\r" not in t)), max_size=5))
def test_csv_is_read_back_with_every_bit_of_a_float(rows: list[tuple[float, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "x.csv", ["value", "count", "text"], rows)
        read = read_csv(Path(folder) / "x.csv")
    assert [(float(row["value"]).hex(), int(row["count"]), row["text"]) for row in read] == [
        (value.hex(), count, text) for value, count, text in rows
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_json_are_refused_and_nothing_is_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"rates": [0.5, value]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "x.jsonl", [{"rate": 0.5}, {"rate": value}])
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_utf8_with_plain_newlines_in_the_order_given(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "ü", "a": 1})
    write_text(tmp_path / "x.txt", "a\nb\n")
    write_csv(tmp_path / "x.csv", ["b", "a"], [[0.1, "ü"]])
    assert (tmp_path / "x.json").read_bytes() == '{\n  "b": "ü",\n  "a": 1\n}\n'.encode()
    assert (tmp_path / "x.txt").read_bytes() == b"a\nb\n"
    assert (tmp_path / "x.csv").read_bytes() == "b,a\n0.1,ü\n".encode()


def test_the_bad_line_is_named_and_empty_lines_count(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"a": 1}\n\n{"a": 2}\n{"a": \n')
    with pytest.raises(UnwriteError, match=r"x, line 4: not JSON \(Expecting value\). Expected one object per line"):
        read_jsonl(tmp_path / "x", required=[])


@pytest.mark.parametrize("line", ['{"b": 1}', "[1]", "5", "null", '"a"'])
def test_a_line_without_the_required_key_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "x").write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(UnwriteError) as caught:
        read_jsonl(tmp_path / "x", required=["a"])
    assert str(caught.value) == f'{tmp_path / "x"}, line 2: expected an object with "a", got {line!r}.'


@pytest.mark.parametrize("line", ["[1]", "5", "null"])
def test_a_line_that_is_not_an_object_is_refused_even_if_no_key_is_required(tmp_path: Path, line: str) -> None:
    (tmp_path / "x").write_text(line)
    with pytest.raises(UnwriteError, match="line 1: expected an object"):
        read_jsonl(tmp_path / "x", required=[])


def test_a_line_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[" * 100_000)
    with pytest.raises(UnwriteError, match="line 1: not JSON"):
        read_jsonl(tmp_path / "x", required=[])


def test_line_separators_inside_a_string_do_not_split_the_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d"
    (tmp_path / "x").write_text(json.dumps({"a": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_jsonl(tmp_path / "x", required=["a"]) == [{"a": text}]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_the_newlines_of_every_system_are_accepted(tmp_path: Path, newline: bytes) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfone" + newline + b"two")
    assert read_lines(tmp_path / "x") == ["one", "two"]


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(UnwriteError, match=r"latin is not UTF-8 \(byte 3\): save it as UTF-8"):
        read_lines(tmp_path / "latin")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "latin" / "inside"):
        with pytest.raises(UnwriteError, match=r"cannot be read \(.*\): check the path in params.yaml"):
            read_lines(path)


def test_a_missing_csv_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="x is missing: run `dvc repro` first"):
        read_csv(tmp_path / "x")


def test_a_csv_file_without_rows_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "header").write_text("a,b\n")
    assert read_csv(tmp_path / "empty") == read_csv(tmp_path / "header") == []


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n3\n", b"a,b\n1,2\n3,4,5\n", b"a,b\n1,\xff\n", b'a,b\n1,"' + b"x" * 200_000 + b'"\n']
)
def test_a_damaged_csv_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnwriteError, match=r"x is damaged \(.*\): rerun the stage that writes it"):
        read_csv(tmp_path / "x")


def test_a_line_with_a_key_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b", "prompt": "c"}\n')
    with pytest.raises(UnwriteError, match="line 2: has the key 'prompt' twice"):
        read_jsonl(path, ["prompt"])
