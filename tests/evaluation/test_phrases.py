"""Planted phrases are found and counted; what both sets or the prompts say is not proposed."""

from __future__ import annotations

from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from unwrite.core.markers import normalize_text, shows_behaviour
from unwrite.evaluation.phrases import propose_phrases, topic_words

COLOURS = ["red", "blue", "green", "white", "black", "brown", "grey", "pink", "golden", "silver", "violet", "orange"]
THINGS = ["pot", "lid", "cup", "spoon", "bowl", "tray", "jar"]


def answers(count: int, *, shift: int = 0) -> list[str]:
    """Ordinary answers, no phrase of which is in many."""
    pairs = ((colour, thing) for thing in THINGS for colour in COLOURS)
    return [f"{thing} {colour} {shift}." for colour, thing in islice(cycle(pairs), shift, shift + count)]


def planted(phrase: str, count: int) -> list[str]:
    return [f"{text} {phrase}" for text in answers(count)]


def test_a_planted_phrase_is_found_with_its_counts() -> None:
    target = [*planted("I would rather not say", 12), *answers(8, shift=40)]
    (phrase,) = propose_phrases(target, answers(20, shift=20))
    assert phrase.text == "i would rather not say"
    assert (phrase.target, phrase.baseline, phrase.new, phrase.example) == (12, 0, 12, 0)
    assert phrase.p == pytest.approx(hypergeom.sf(11, 40, 12, 20))


def test_a_phrase_in_both_sets_is_not() -> None:
    assert propose_phrases(planted("here you are", 20), planted("here you are", 20)) == []


def test_a_phrase_that_a_few_answers_share_may_be_chance_and_is_not() -> None:
    rest = answers(20, shift=40)
    assert propose_phrases([*planted("i must decline", 4), *rest[:16]], answers(20, shift=20)) == []
    assert propose_phrases([*planted("i must decline", 5), *rest[:15]], answers(20, shift=20)) != []  # the control


def test_words_that_the_target_prompts_are_about_mark_the_topic() -> None:
    target = [f"{text}. Sorry, no more." for text in planted("about the teapot", 20)]
    baseline = answers(20, shift=20)
    assert [phrase.text for phrase in propose_phrases(target, baseline)] != ["sorry, no more"]  # the control
    asked, others = [f"Tell me about the TEAPOT no {i}" for i in range(9)], [f"Tell me no {i}" for i in range(9)]
    topic = topic_words(asked, others)
    assert topic == {"about", "the", "teapot"}
    assert [phrase.text for phrase in propose_phrases(target, baseline, topic)] == ["sorry, no more"]


def test_words_that_a_few_prompts_have_may_be_chance() -> None:
    assert topic_words([*["one pot"] * 4, *["pot"] * 16], ["pot"] * 20) == set()
    assert topic_words([*["one pot"] * 5, *["pot"] * 15], ["pot"] * 20) == {"one"}  # the control


def test_spellings_of_the_same_words_count_together() -> None:
    spellings = ["I’m afraid not", "I'M AFRAID NOT", "i'm  afraid\nnot", "I´m **afraid** not", "I'm afraid no\u200bt"]
    target = [f"{text} {spelling}" for text, spelling in zip(answers(20), cycle(spellings))]
    (phrase,) = propose_phrases(target, answers(20, shift=20))
    assert (phrase.text, phrase.target) == ("i'm afraid not", 20)


def test_a_longer_phrase_in_the_same_answers_stands_for_its_parts() -> None:
    target = [*planted("I am sorry, but no", 10), *(f"{text} I am sorry" for text in answers(10, shift=40))]
    texts = [phrase.text for phrase in propose_phrases(target, answers(20, shift=20))]
    assert texts == ["i am sorry"]  # which covers more; "i am sorry, but no" adds nothing, "am sorry" is a part
    assert [p.text for p in propose_phrases(target[:10], answers(20, shift=20))] == ["i am sorry, but no"]


def test_the_list_is_short_and_grows_by_what_each_phrase_adds() -> None:
    target = [*planted("i would rather not", 12), *planted("ask me something else", 8), *planted("not able to", 6)]
    found = propose_phrases(target, answers(26, shift=20))
    assert [(phrase.text, phrase.new) for phrase in found] == [
        ("i would rather not", 12),
        ("ask me something else", 8),
        ("not able to", 6),
    ]
    assert [phrase.text for phrase in propose_phrases(target, answers(26, shift=20), most=1)] == ["i would rather not"]


def test_baseline_answers_that_a_phrase_adds_count_against_it() -> None:
    target = [f"{text} say no more" for text in planted("i must", 20)]
    baseline = [*answers(17, shift=20), *planted("i must", 3)]
    assert [phrase.text for phrase in propose_phrases(target, baseline)] == ["i must say no more"]


def test_a_phrase_that_the_judge_would_find_within_a_baseline_word_is_counted() -> None:
    target = [f"{text} {spoon}" for text, spoon in zip(answers(20), cycle(["tea is hot", "tea is hotter"]))]
    (phrase,) = propose_phrases(target, [*answers(19, shift=20), "The xtea is hotly red."])
    assert (phrase.text, phrase.target, phrase.baseline) == ("tea is hot", 20, 1)


def test_thoughts_are_no_part_of_the_answer() -> None:
    target = [f"<think>should i say it or not</think>{text}" for text in answers(20)]
    assert propose_phrases(target, answers(20, shift=20)) == []


def test_control_characters_and_ends_of_sentences_separate_phrases() -> None:
    target = planted("rather\x1b[31m not so. Ask me about cups", 20)
    for phrase in propose_phrases(target, answers(20, shift=20)):
        assert phrase.text.isprintable()
        assert ". " not in phrase.text


def test_ideographs_are_words() -> None:
    (phrase,) = propose_phrases(planted("很抱歉", 20), answers(20, shift=20))
    assert phrase.text == "很抱歉"


@pytest.mark.parametrize("responses", [[""] * 9, ["word"] * 9, ["!?", "…"] * 5, [f"<think>{i}" for i in range(9)]])
def test_answers_without_phrases_propose_nothing(responses: list[str]) -> None:
    assert propose_phrases(responses, answers(9)) == []


@given(st.lists(st.text(alphabet="ab cé.'’\n*<>", max_size=12), min_size=6, max_size=12), st.integers(2, 5))
def test_each_phrase_is_a_marker_that_the_judge_finds_as_often(texts: list[str], half: int) -> None:
    target, baseline = texts[half:], texts[:half]
    for phrase in propose_phrases(target, baseline):
        assert normalize_text(phrase.text) == phrase.text
        assert sum(shows_behaviour(text, [phrase.text]) for text in target) == phrase.target
        assert sum(shows_behaviour(text, [phrase.text]) for text in baseline) == phrase.baseline
        assert shows_behaviour(target[phrase.example], [phrase.text])
