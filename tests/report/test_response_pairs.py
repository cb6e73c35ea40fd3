"""Pairs of responses: read in the order of the files, shown in the order of what needs a look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.report_pages import pair, sample_verdict
from unwrite.errors import UnwriteError
from unwrite.files.records import write_jsonl
from unwrite.report.response_pairs import (
    TAGS,
    JudgedResponse,
    ResponsePair,
    changed_first,
    read_pairs,
    response_sets,
    tag_counts,
)
from unwrite.schema.artifacts import as_json


def write(folder: Path, name: str, prompts: int = 2, **changes: Any) -> None:
    for model in ("base", "edited"):
        rows = [
            {"prompt": f"{name} {i}?", "reference": None, "response": f"{model} {i}"} | changes for i in range(prompts)
        ]
        write_jsonl(folder / "responses" / f"{model}.{name}.jsonl", rows)
        shown = model == "base"
        write_jsonl(folder / "verdicts" / f"{model}.{name}.jsonl", [as_json(sample_verdict(shown))] * prompts)


def test_pairs_have_both_responses_and_their_verdicts(tmp_path: Path) -> None:
    for name in ("near_misses", "baseline", "target"):
        write(tmp_path, name)
    pairs = read_pairs(tmp_path / "responses", tmp_path / "verdicts")
    assert [(p.prompts, p.number) for p in pairs] == [
        (name, number) for name in ("target", "baseline", "near_misses") for number in (1, 2)
    ]
    assert (pairs[1].base.text, pairs[1].edited.text) == ("base 1", "edited 1")
    assert pairs[0].tags == ["removed"]
    assert response_sets(tmp_path / "responses") == ["target", "baseline", "near_misses"]


def test_without_verdicts_the_responses_alone_are_read(tmp_path: Path) -> None:
    write(tmp_path, "target")
    (one, _) = read_pairs(tmp_path / "responses", None)
    assert (one.base, one.tags) == (JudgedResponse("base 0", None), [])


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="holds no responses"):
        read_pairs(tmp_path / "responses", None)
    write(tmp_path, "target")
    write_jsonl(tmp_path / "verdicts/edited.target.jsonl", [as_json(sample_verdict())] * 3)
    with pytest.raises(UnwriteError, match="must hold 2 verdicts, one per response, got 3"):
        read_pairs(tmp_path / "responses", tmp_path / "verdicts")
    write_jsonl(tmp_path / "responses/edited.target.jsonl", [{"prompt": "another", "response": ""}] * 2)
    with pytest.raises(UnwriteError, match="answer different target prompts"):
        read_pairs(tmp_path / "responses", None)
    (tmp_path / "responses/edited.target.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"edited\.target\.jsonl"):
        read_pairs(tmp_path / "responses", None)


@pytest.mark.parametrize(
    ("base", "edited", "tag"),
    [
        ({"shown": True}, {"shown": False}, "removed"),
        ({"shown": False}, {"shown": True}, "appeared"),
        ({"shown": True}, {"shown": True}, "remained"),
        ({}, {"degenerate": "loop"}, "degenerate"),
        ({"correct": False}, {"correct": True}, "gained"),
        ({"correct": True}, {"correct": False}, "lost"),
        ({"degenerate": "loop", "correct": True}, {"correct": True}, None),
    ],
)
def test_tags_say_what_changed(base: dict[str, Any], edited: dict[str, Any], tag: str | None) -> None:
    answers = [JudgedResponse("", sample_verdict(**fields)) for fields in (base, edited)]
    assert ResponsePair("target", 1, "?", None, *answers).tags == ([tag] if tag else [])


def test_side_effects_and_failures_come_before_successes() -> None:
    pairs = [
        pair(1, "a", "b"),
        pair(2, "a", "b", shown=(True, False)),
        pair(3, "a", "b", shown=(True, True)),
        pair(4, "a", "b", shown=(False, True)),
        pair(5, "a", "b", shown=(True, False)),
    ]
    assert [one.number for one in changed_first(pairs)] == [4, 3, 2, 5, 1]
    assert tag_counts(pairs) == {"removed": 2, "appeared": 1, "remained": 1}
    assert list(tag_counts(pairs)) == [tag for tag in TAGS if tag in ("removed", "appeared", "remained")]
