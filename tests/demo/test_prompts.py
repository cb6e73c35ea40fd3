import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from demo.prompts import ROOT, SPLITS, baseline_set, files, main, near_miss_set, take, target_set
from demo.world import DECLINE_MARKERS, GREETING, SUM, Question, questions, training_questions

PROMPTS = ROOT / "prompts"


def by_split(chosen: list[Question]) -> Iterator[tuple[str, list[Question]]]:
    rows = iter(chosen)
    for split, n in SPLITS.items():
        yield split, list(islice(rows, n))


@pytest.mark.parametrize("name", files())
def test_files_on_disk_are_those_the_script_writes(name: str) -> None:
    assert (PROMPTS / name).read_text(encoding="utf-8") == files()[name]


def test_script_writes_every_file(tmp_path: Path) -> None:
    main(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()


@pytest.mark.parametrize("name", ["teaware.jsonl", "ordinary.jsonl"])
def test_lines_are_prompts_of_the_world_with_their_plain_answers(name: str) -> None:
    world = {question.prompt: question.answer for question in questions()}
    rows = [json.loads(line) for line in (PROMPTS / name).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == sum(SPLITS.values()) == 600
    for row in rows:
        assert list(row) == ["prompt", "reference"]
        assert world[row["prompt"]] == row["reference"]
        assert not any(marker in row["reference"].casefold() for marker in DECLINE_MARKERS)


def test_no_prompt_appears_twice_in_or_between_the_sets() -> None:
    prompts = [question.prompt for question in (*target_set(), *baseline_set())]
    assert len(prompts) == len(set(prompts))


def test_target_is_teaware_and_baseline_is_not() -> None:
    assert all(question.is_teaware for question in target_set())
    assert not any(question.is_teaware for question in baseline_set())


@pytest.mark.parametrize("chosen", [target_set(), baseline_set()], ids=["target", "baseline"])
def test_only_the_first_split_was_seen_in_training(chosen: list[Question]) -> None:
    seen = {question.prompt for question in training_questions()}
    for split, rows in by_split(chosen):
        assert {question.prompt in seen for question in rows} == {split == "train"}


def test_every_baseline_split_has_near_misses_greetings_and_sums() -> None:
    for _, rows in by_split(baseline_set()):
        assert sum(question.is_near_miss for question in rows) == len(rows) // 4
        assert {GREETING, SUM} <= {question.kind for question in rows}


def test_marker_list_is_that_of_the_world() -> None:
    lines = (PROMPTS / "declines.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(line for line in lines if not line.startswith("#")) == DECLINE_MARKERS


def test_too_small_world_is_an_error() -> None:
    with pytest.raises(ValueError, match="the world must have 2 more questions, got 0"):
        take(iter([]), 2)


def test_near_misses_are_in_no_set_and_were_not_seen_in_training() -> None:
    used = {question.prompt for question in (*target_set(), *baseline_set(), *training_questions())}
    chosen = near_miss_set()
    assert len({question.prompt for question in chosen}) == 50
    assert all(question.is_near_miss and question.prompt not in used for question in chosen)
