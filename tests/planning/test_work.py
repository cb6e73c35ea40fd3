"""The work is that of the tokenized prompts, or assumed from params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_project import small_params
from unwrite.files.records import write_jsonl
from unwrite.planning.work import ASSUMED_LENGTH, read_work
from unwrite.schema.paths import SET_TOKENS, TOKENS
from unwrite.terms import SETS, SPLITS

ROW = {"prompt": "Which kettle?", "text": "Which kettle?", "reference": ""}


def test_prompts_are_assumed_until_they_are_tokenized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = small_params()
    work = read_work(params)
    assert not work.known
    assert work.of("train") == [ASSUMED_LENGTH] * 2 * params.tokenize.splits.train
    assert work.extra() == []


def test_lengths_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TOKENS.mkdir(parents=True)
    SET_TOKENS.mkdir()
    for name in SETS:
        for number, split in enumerate(SPLITS):
            rows = [{**ROW, "tokens": [1] * (number + 2)}] * 3
            write_jsonl(TOKENS / f"{name}.{split}.jsonl", rows)
    write_jsonl(SET_TOKENS / "near_misses.test.jsonl", [{**ROW, "tokens": [1] * 9}])
    work = read_work(small_params())
    assert work.known
    assert work.of("train", "test") == [2, 2, 2, 4, 4, 4] * 2
    assert work.extra() == [9]
