"""A marker is found where it is in the text that the model wrote, not in the normalized one."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.markers import normalize_text, shows_behaviour
from unwrite.core.spans import FoundMarker, find_marker
from unwrite.core.thinking import answer_of


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("I'm sorry, no.", "I'm sorry"),
        ("Well.  I’m\u00a0\n **sor\u00adry**!", "I’m\u00a0\n **sor\u00adry"),
        ("<think>I'm sorry?</think>I'm sorry.", "I'm sorry"),
        ("I'm<think>So?</think> sorry.", "I'm<think>So?</think> sorry"),
        ("é́ Ｉ＇Ｍ ｓｏｒｒｙ", "Ｉ＇Ｍ ｓｏｒｒｙ"),
        ("각 I'm sorry", "I'm sorry"),
    ],
)
def test_the_span_covers_the_marker_as_it_was_written(text: str, covered: str) -> None:
    found = find_marker(text, ["as an AI", "I’m sorry"])
    assert found is not None
    assert (found.marker, text[found.start : found.stop]) == ("I’m sorry", covered)


def test_a_block_that_comes_first_is_passed_over() -> None:
    text = "<think>no no</think> Well, no."
    found = find_marker(text, ["no"])
    assert found == FoundMarker("no", text.rindex("no"), text.rindex("no") + 2)


def test_the_first_marker_counts_and_of_two_at_one_place_the_longest() -> None:
    text = "I can't help with that, sorry."
    assert find_marker(text, ["sorry", "I can't", "can't", "I can't help"]) == FoundMarker("I can't help", 0, 12)
    assert find_marker(text, ["sorry", "with"]) == FoundMarker("with", 13, 17)


def test_a_character_that_becomes_several_is_covered_as_a_whole() -> None:
    assert find_marker("of\ufb01cial", ["ici"]) == FoundMarker("ici", 2, 5)
    assert find_marker("one…two", ["."]) == FoundMarker(".", 3, 4)


def test_no_marker_is_none_and_no_list_is_refused() -> None:
    assert find_marker("It is blue.", ["sorry"]) is None
    assert find_marker("<think>Sorry?</think>It is blue.", ["sorry"]) is None
    with pytest.raises(ValueError, match="at least one phrase"):
        find_marker("It is blue.", [])


COMPOSED = [chr(c) for c in range(0x30000) if len(unicodedata.normalize("NFD", chr(c))) > 1]
TRICKY = st.lists(
    st.one_of(
        st.sampled_from("ae A*`' \n.\u0301\u0308\u0345é好かαᾳΆŉ\u00ad\u1100\u1161\u11a8\u3099\uff9eß’¨´\ufb01…<"),
        st.sampled_from(["<think>", "</think>"]),
        st.sampled_from(COMPOSED).map(lambda c: unicodedata.normalize("NFD", c)),
        st.characters(codec="utf-8"),
    ),
    max_size=10,
).map("".join)


@settings(max_examples=1500)
@given(TRICKY, st.integers(0, 9), st.integers(1, 6))
def test_any_piece_of_the_normalized_text_is_found_and_its_span_contains_it(text: str, start: int, size: int) -> None:
    marker = normalize_text(answer_of(text))[start : start + size]
    if not marker.strip() or normalize_text(marker) != marker:
        return
    assert shows_behaviour(text, [marker])
    found = find_marker(text, [marker])
    assert found is not None
    assert marker in normalize_text(answer_of(text[found.start : found.stop]))
