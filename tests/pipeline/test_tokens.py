"""Tokenized prompts are read back as they were written; a damaged file is named."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.pipeline.tokens import TokenizedPrompt, prompt_sets, read_tokens, write_tokens
from unwrite.schema.paths import SET_TOKENS, TOKENS
from unwrite.terms import SETS, SPLITS

PROMPTS = [
    TokenizedPrompt("What is tea?", "A drink.", "<user>What is tea?</user>\n", [1, 2, 3]),
    TokenizedPrompt("line\u2028separator ü", None, "", []),
]


@pytest.fixture(autouse=True)
def in_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_set_and_split_is_read_back() -> None:
    for number, (name, split) in enumerate((name, split) for name in SETS for split in SPLITS):
        write_tokens(TOKENS, name, split, [*PROMPTS, TokenizedPrompt("p", None, "t", [number])])
    read = [read_tokens(name, split) for name in SETS for split in SPLITS]
    assert [rows[:2] for rows in read] == [PROMPTS] * 6
    assert [rows[2].tokens for rows in read] == [[number] for number in range(6)]


def test_the_sets_are_the_two_and_those_that_were_tokenized() -> None:
    with pytest.raises(UnwriteError, match="set_tokens/ is missing: run `dvc repro tokenize_sets`"):
        prompt_sets()
    SET_TOKENS.mkdir(parents=True)
    assert prompt_sets() == ["target", "baseline"]
    write_tokens(SET_TOKENS, "near", "test", PROMPTS)
    assert prompt_sets() == ["target", "baseline", "near"]


def test_a_missing_file_names_it_and_what_to_run() -> None:
    with pytest.raises(UnwriteError, match=r"target.train.jsonl cannot be read .* run `dvc repro`"):
        read_tokens("target", "train")


@pytest.mark.parametrize("row", ["{", "[]", '{"prompt": "p", "reference": null, "text": "t"}'])
def test_a_damaged_file_names_the_line(row: str) -> None:
    write_tokens(TOKENS, "target", "train", PROMPTS)
    with (TOKENS / "target.train.jsonl").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(UnwriteError, match=r"target.train.jsonl, line 3: "):
        read_tokens("target", "train")


def test_keys_of_a_later_version_are_ignored() -> None:
    TOKENS.mkdir(parents=True)
    row = '{"text": "t", "tokens": [1], "more": 5, "reference": null, "prompt": "p"}'
    (TOKENS / "target.train.jsonl").write_text(row)
    assert read_tokens("target", "train") == [TokenizedPrompt("p", None, "t", [1])]
