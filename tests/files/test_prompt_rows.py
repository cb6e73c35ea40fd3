"""Rows of every file type: read one at a time, and every defect is named with its place."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompt_rows import LONGEST_PROMPT, Columns, Row, file_rows

COLUMNS = Columns(("prompt", "messages"), "reference")


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, columns: Columns = COLUMNS, dropped: Counter[str] | None = None) -> list[Row]:
    return list(file_rows(path, path.name, columns, Counter() if dropped is None else dropped))


def values(path: Path, columns: Columns = COLUMNS) -> list[Any]:
    return [row.value for row in rows(path, columns)]


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_rows_of_every_file_type_have_a_place(tmp_path: Path) -> None:
    both = [{"prompt": "one, two", "reference": "1"}, {"prompt": "three", "reference": None}]
    files = {
        "x.jsonl": "".join(json.dumps(row) + "\n" for row in both),
        "x.json": json.dumps(both, indent=1),
        "x.csv": 'prompt,reference\n"one, two",1\nthree,\n',
        "x.tsv": "prompt\treference\none, two\t1\nthree\t\n",
    }
    for name, content in files.items():
        read = rows(file(tmp_path, name, content))
        assert [row.value for row in read] == both
        assert read[0].place in {"x.jsonl, line 1", "x.json, item 1", "x.csv, line 2", "x.tsv, line 2"}
    table = parquet(tmp_path / "x.parquet", {"prompt": ["one, two", "three"], "reference": ["1", None], "n": [1, 2]})
    assert rows(table) == [Row("x.parquet, row 1", both[0]), Row("x.parquet, row 2", both[1])]
    assert values(file(tmp_path, "x.txt", "one\n\n  two \n")) == ["one", "two"]


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_files_are_read_as_other_editors_save_them(name: str, tmp_path: Path) -> None:
    lines = ["one", "two"] if name == "x.txt" else ['"one"', '"two"']
    for end in ("\n", "\r\n"):
        assert values(file(tmp_path, name, "\ufeff" + end.join(lines))) == ["one", "two"]


def test_a_table_of_another_editor_is_read(tmp_path: Path) -> None:
    content = '\ufeffprompt,n\r\n"one\nand two",1\r\n\r\nthree,2\r\n'
    assert [value["prompt"] for value in values(file(tmp_path, "x.csv", content))] == ["one\nand two", "three"]


def test_marks_in_the_middle_and_lines_without_ink_are_counted(tmp_path: Path) -> None:
    dropped = Counter[str]()
    content = "\ufeffone\n\ufefftwo\n\u200b\n\u2800\u3164 \ufe0f\n"
    assert [row.value for row in rows(file(tmp_path, "x.txt", content), dropped=dropped)] == ["one", "two"]
    assert dropped == {"byte order mark(s) from the middle of the file": 1, "line(s) of invisible characters": 2}


def test_a_line_separator_inside_a_prompt_does_not_split_it(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "one\u2028still one\nand two"}, ensure_ascii=False)
    assert values(file(tmp_path, "x.jsonl", row)) == [{"prompt": "one\u2028still one\nand two"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.csv",
            "question,id\na,1\n",
            r"x\.csv has no column 'prompt'; its columns: 'question', 'id'\. Name",
        ),
        ("x.csv", "", r"x\.csv has no column 'prompt'; its columns: none"),
        ("x.csv", "prompt,prompt\na,b\n", r"x\.csv has the column 'prompt' twice"),
        ("x.csv", "prompt,id\na,1\nb, c,2\n", r"x\.csv, line 3 has 3 fields, but its header 2"),
        ("x.csv", 'prompt\n"a\n', r"x\.csv, line 2 is not CSV"),
        ("x.jsonl", '{"prompt": "one"}\n\nwhat is tea?\n', r"x\.jsonl, line 3: not JSON"),
        ("x.jsonl", '{"prompt": "a", "prompt": "b"}\n', r"line 1: has the key 'prompt' twice in one object\. Keep one"),
        ("x.jsonl", f'{{"prompt": "a", "n": {"9" * 400}}}\n', r"line 1: has a whole number of 400 digits\. Shorten it"),
        ("x.jsonl", f'{{"prompt": {"[" * 5000 + "]" * 5000}}}', r"x\.jsonl, line 1: not JSON \(nested too deeply\)"),
        ("x.json", '{"prompt": ["a"]}', r"x\.json must hold a list of texts or objects, got '\{"),
        ("x.json", '["a", ', r"x\.json, item 2: not JSON"),
        ("x.json", '["a" "b"', r"x\.json, item 3: not JSON"),
        ("x.json", '[{"a": 1, "a": 2}]', r"x\.json, item 1: has the key 'a' twice"),
        ("x.txt", "one\nth\xe9\n".encode("latin-1"), r"x\.txt, line 2 is not UTF-8 \(byte 6\): save it as UTF-8"),
        ("x.csv", "prompt\nth\xe9\n".encode("latin-1"), r"x\.csv, line 2 is not UTF-8"),
        ("x.txt", "one\ntwo\n".encode("utf-16-le"), r"x\.txt, line 1 holds a NUL, as UTF-16 does: save it as UTF-8"),
        ("x.csv", "prompt\none\n".encode("utf-16-be"), r"x\.csv, line 1 holds a NUL"),
        ("x.jsonl", '"one"\n"two"\n'.encode("utf-16-le"), r"x\.jsonl, line 1 holds a NUL"),
        ("x.json", '["th\xe9"]'.encode("latin-1"), r"x\.json is not UTF-8"),
        ("x.parquet", "PAR1 no more", r"x\.parquet is not a readable Parquet file"),
        ("x.xlsx", "one", r"x\.xlsx must end in \.txt, \.jsonl, \.json, \.csv, \.tsv or \.parquet, got '\.xlsx'"),
        ("x", "one", r"x must end in .* got 'no suffix'"),
        ("x.pkl", "one", r"x\.pkl must end in"),
    ],
)
def test_a_defect_is_named_with_its_place(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=message) as caught:
        rows(file(tmp_path, name, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_missing_column_of_parquet_lists_those_there_are(tmp_path: Path) -> None:
    table = parquet(tmp_path / "x.parquet", {"question": ["a"], "id": [1]})
    with pytest.raises(UnwriteError, match=r"has no column 'prompt'; its columns: 'question', 'id'"):
        rows(table)
    assert values(table, Columns(("question",), None)) == [{"question": "a"}]


def test_a_pipe_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.txt")
    with pytest.raises(UnwriteError, match=r"x\.txt is a pipe"):
        rows(tmp_path / "x.txt")
    with pytest.raises(UnwriteError, match=r"y\.txt cannot be read .*: check the path in params\.yaml"):
        rows(tmp_path / "y.txt")


def test_a_list_longer_than_what_is_read_at_once_keeps_its_items(tmp_path: Path) -> None:
    texts = [f"{number} " + "tea " * 5000 for number in range(200)]  # 4 MB
    assert values(file(tmp_path, "x.json", json.dumps(texts))) == texts


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl", "x.json", "x.csv", "x.parquet"])
def test_the_first_rows_of_a_long_file_take_little_memory(name: str, tmp_path: Path) -> None:
    texts = [f"{number} " + "tea " * 250 for number in range(20_000)]  # 20 MB
    contents = {
        "x.txt": lambda: "\n".join(texts),
        "x.jsonl": lambda: "\n".join(map(json.dumps, texts)),
        "x.json": lambda: json.dumps(texts),
        "x.csv": lambda: "\n".join(["prompt", *texts]),
    }
    path = tmp_path / name
    if name == "x.parquet":
        parquet(path, {"prompt": texts})
    else:
        path.write_text(contents[name]())
    tracemalloc.start()
    read = list(islice(file_rows(path, name, COLUMNS, Counter()), 100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read) == 100
    assert peak < 6e6


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    path = file(tmp_path, "x.txt", "a" * (16 * LONGEST_PROMPT + 5))
    assert [len(value) for value in values(path)] == [16 * LONGEST_PROMPT, 5]
