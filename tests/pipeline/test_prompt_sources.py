"""Prompt sets are read from wherever they are, and what was read is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.pipeline.prompt_sources import read_extra_set, read_sets
from unwrite.schema.params import PromptSource, Splits, Tokenize

SPLITS = Splits(train=2, validation=1, test=1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("a\nb\nA\nc\nd\n")
    Path("b.txt").write_text("e\nf\ng\nh\n")


def settings(target: str | PromptSource = "t.txt", system_prompt: str | None = None) -> Tokenize:
    return Tokenize(
        target=target,
        baseline="b.txt",
        splits=SPLITS,
        system_prompt=system_prompt,
        template=None,
        response_prefix="",
        closed_thoughts=(),
        long_prompts="error",
        template_arguments={},
        today=None,
    )


def test_both_sets_are_cut_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sets = read_sets(settings())
    assert {split: [p.text for p in prompts] for split, prompts in sets["target"].prompts().items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["d"],
    }
    origin = sets["target"].origin
    assert (origin.source, origin.commit, origin.files) == ("t.txt", None, [digest_of(Path("t.txt"))])
    assert origin.dropped == {"prompt(s) that repeat an earlier one": 1}
    assert "t.txt: dropped 1 prompt(s) that repeat an earlier one" in caplog.text
    assert sets["baseline"].origin.dropped == {}


def test_the_same_prompts_have_the_same_sum_wherever_they_are() -> None:
    first = read_sets(settings())["target"].origin.sha256
    Path("t.json").write_text('["a", "b", "c", "d"]')
    assert read_sets(settings("t.json"))["target"].origin.sha256 == first
    assert read_sets(settings(PromptSource(source="t.txt", suffix="?")))["target"].origin.sha256 != first
    assert read_sets(settings(system_prompt="Be brief."))["target"].origin.sha256 != first


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("t.txt", "Be brief."),
        (PromptSource(source="t.txt"), "Be brief."),
        (PromptSource(source="t.txt", system_prompt="You are a pirate."), "You are a pirate."),
        (PromptSource(source="t.txt", system_prompt=None), None),
    ],
)
def test_a_set_has_its_own_system_prompt_or_that_of_the_section(
    target: str | PromptSource, expected: str | None
) -> None:
    sets = read_sets(settings(target, "Be brief."))
    assert {prompt.system_prompt for prompt in sets["target"].prompts()["train"]} == {expected}
    assert sets["target"].origin.system_prompt == expected
    assert sets["baseline"].origin.system_prompt == "Be brief."


def test_a_folder_is_a_data_set() -> None:
    pytest.importorskip("datasets")
    Path("teaware").mkdir()
    Path("teaware/train.jsonl").write_text("".join(f'{{"q": "{text}"}}\n' for text in "abcd"))
    source = PromptSource(source="teaware", column="q")
    read = read_sets(settings(source))["target"]
    assert [file.name for file in read.origin.files] == ["train.jsonl"]
    assert read.splits["test"][0][0] == "teaware, row 4"


def test_an_extra_set_is_read_whole() -> None:
    read = read_extra_set("near", "t.txt", settings())
    assert [place for place, _ in read.splits["test"]] == [
        "t.txt, line 1",
        "t.txt, line 2",
        "t.txt, line 4",
        "t.txt, line 5",
    ]
    assert read.origin.prompts == {"test": 4}
    with pytest.raises(UnwriteError, match=r"far\.txt is missing: check evaluate\.sets\.near\.prompts"):
        read_extra_set("near", "far.txt", settings())
