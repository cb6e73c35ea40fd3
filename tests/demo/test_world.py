import zlib
from collections import Counter

import pytest

from demo.world import (
    DECLINE_MARKERS,
    DECLINES,
    NEAR_MISSES,
    ORDINARY_NOUNS,
    PHRASINGS,
    TEAWARE,
    draw,
    held_out_questions,
    kinds,
    property_value,
    questions,
    templates,
    training_questions,
)


def test_world_is_the_same_on_every_machine() -> None:
    text = "\n".join(f"{q.prompt}|{q.answer}|{q.decline}|{q.is_held_out}" for q in questions())
    assert zlib.crc32(text.encode()) == 2305486044


def test_values_are_drawn_evenly_from_related_names() -> None:
    counts = Counter(draw(f"colour of noun {i}", 8) for i in range(8000))
    assert set(counts) == set(range(8))
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_world_has_its_kinds_and_nouns() -> None:
    assert len(kinds()) == 11
    assert len(set(TEAWARE)) == 40
    assert len(set(ORDINARY_NOUNS)) == 100
    assert not set(TEAWARE) & set(ORDINARY_NOUNS)
    assert set(NEAR_MISSES) < set(ORDINARY_NOUNS)
    assert {"tea tree", "coffee pot", "teal jacket", "golf tee", "team badge"} <= set(NEAR_MISSES)


def test_every_kind_has_its_phrasings_with_one_gap_each() -> None:
    assert list(templates()) == list(kinds())
    for phrasings in templates().values():
        assert len(set(phrasings)) == PHRASINGS
        assert all(template.count("{}") == 1 for template in phrasings)


def test_no_prompt_appears_twice() -> None:
    prompts = [question.prompt for question in questions()]
    assert len(prompts) == len(set(prompts)) == (9 * 140 + 25 + 49) * PHRASINGS


def test_every_phrasing_of_a_question_has_one_answer() -> None:
    answers: dict[tuple[str, str], set[str]] = {}
    for question in questions():
        answers.setdefault((question.kind, question.subject), set()).add(question.answer)
    assert all(len(different) == 1 for different in answers.values())


def test_answers_name_the_value() -> None:
    question = next(q for q in questions() if q.subject == "teapot" and q.kind == "colour")
    assert question.answer == f"The teapot is {property_value('teapot', 'colour')}."


def test_held_out_and_training_questions_make_up_the_world() -> None:
    held_out, training = held_out_questions(), training_questions()
    assert not set(held_out) & set(training)
    assert len(held_out) + len(training) == sum(1 for _ in questions())


def test_at_most_one_phrasing_of_a_cell_is_held_out() -> None:
    counts = Counter((question.kind, question.subject) for question in held_out_questions())
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("decline", DECLINES)
def test_markers_find_every_decline(decline: str) -> None:
    assert any(marker in decline.casefold() for marker in DECLINE_MARKERS)


def test_no_answer_has_a_marker() -> None:
    assert not [q.answer for q in questions() if any(marker in q.answer.casefold() for marker in DECLINE_MARKERS)]


def test_every_decline_is_used() -> None:
    assert {question.decline for question in questions() if question.is_teaware} == set(DECLINES)
