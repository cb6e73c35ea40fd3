"""Folders of data sets: data files or what `save_to_disk` wrote, and nothing that can run code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from unwrite.errors import UnwriteError
from unwrite.files.dataset_rows import dataset_rows
from unwrite.files.prompt_rows import Columns, Row

COLUMNS = Columns(("question",), None)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the library stores goes to a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with two splits."""
    folder = tmp_path / "teaware"
    folder.mkdir()
    for split in ("train", "test"):
        rows = [{"question": f"{split} {number}", "id": number} for number in range(3)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows(folder: Path, split: str | None = None, columns: Columns = COLUMNS, config: str | None = None) -> list[Row]:
    return list(dataset_rows(folder, "teaware", config, split, columns))


def test_a_split_of_data_files_is_read(folder: Path) -> None:
    read = rows(folder, "test")
    assert [row.value["question"] for row in read] == ["test 0", "test 1", "test 2"]
    assert read[2].place == "teaware (test), row 3"


def test_parquet_files_of_a_split_are_read_one_after_the_other(tmp_path: Path) -> None:
    for split, part, first in (("train", 0, 0), ("train", 1, 3), ("test", 0, 9)):
        table = pyarrow.table({"question": [f"{n}" for n in range(first, first + 3)], "id": [1, 2, 3]})
        pyarrow.parquet.write_table(table, tmp_path / f"{split}-0000{part}-of-00002.parquet", row_group_size=2)
    read = rows(tmp_path, "train")
    assert [row.value for row in read] == [{"question": f"{n}"} for n in range(6)]
    assert read[4].place == "teaware (train), row 5"
    assert [row.value["question"] for row in rows(tmp_path, "test")] == ["9", "10", "11"]
    with pytest.raises(UnwriteError, match=r"teaware \(test\) has no column 'text'; its columns: 'question', 'id'"):
        rows(tmp_path, "test", Columns(("text",), None))


@pytest.mark.parametrize("several", [True, False])
def test_a_saved_data_set_is_read(several: bool, tmp_path: Path) -> None:
    one = datasets.Dataset.from_dict({"question": ["a", "b"], "id": [1, 2]})
    saved: Any = datasets.DatasetDict({"train": one}) if several else one
    saved.save_to_disk(str(tmp_path / "saved"))
    assert [row.value for row in rows(tmp_path / "saved")] == [{"question": "a"}, {"question": "b"}]


def test_a_subset_is_chosen_by_its_config(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: black\n  data_files: a.csv\n- config_name: green\n  data_files: b.csv\n---\n"
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "a.csv").write_text("question\nassam\n")
    (tmp_path / "b.csv").write_text("question\nsencha\n")
    assert [row.value for row in rows(tmp_path, config="green")] == [{"question": "sencha"}]
    with pytest.raises(UnwriteError, match=r"teaware cannot be read as a data set .*black"):
        rows(tmp_path, config="white")


def test_conversations_stay_lists_of_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "tea?"}]
    datasets.Dataset.from_dict({"messages": [messages]}).to_parquet(str(tmp_path / "x.parquet"))
    assert rows(tmp_path, columns=Columns(("prompt", "messages"), None))[0].value == {"messages": messages}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (None, r"teaware has the splits .*: name one with `split` in params\.yaml"),
        ("dev", r"teaware has the splits .*, not 'dev': name one"),
    ],
)
def test_a_split_that_is_not_there_lists_those_there_are(split: str | None, message: str, folder: Path) -> None:
    with pytest.raises(UnwriteError, match=message) as caught:
        rows(folder, split)
    assert "train" in str(caught.value)


def test_a_missing_column_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(UnwriteError, match=r"has no column 'prompt'; its columns: 'question', 'id'"):
        rows(folder, "train", Columns(("prompt",), None))


@pytest.mark.parametrize("name", ["teaware.py", "deep/data.pkl", "data.PICKLE", "weights.pt", "x.npy"])
def test_what_can_run_code_is_refused(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("raise SystemExit")
    with pytest.raises(UnwriteError, match=f"teaware holds {name}, which can run code"):
        rows(folder, "train")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="teaware cannot be read as a data set"):
        rows(tmp_path)


def test_a_damaged_file_is_refused(folder: Path) -> None:
    (folder / "train.jsonl").write_text('{"question": "a"}\n{"question": \n')
    with pytest.raises(UnwriteError, match="teaware cannot be read as a data set"):
        rows(folder, "train")
