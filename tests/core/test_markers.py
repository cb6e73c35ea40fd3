"""Two spellings of the same words are equal, and markers are found in any of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.markers import has_settled_marker, markers_in_all, matches_reference, normalize_text, shows_behaviour


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I Can’t", "i can't"),
        ("I can‘t, I can`t, I can´t, I can＇t", "i can't, i can't, i can't, i can't"),
        ("“Sorry” „no‟ «none»", '"sorry" "no" "none"'),
        ("so – no — really ‑ non−zero", "so - no - really - non-zero"),
        ("  a\n\tb\u00a0c\u3000d  ", "a b c d"),
        ("I can**not** *help*", "i cannot help"),
        ("Wait…", "wait..."),
        ("STRASSE straße", "strasse strasse"),
        ("ﬁne Ｆｕｌｌ", "fine full"),
        ("sor\u200bry so\u00adrry \ufeff", "sorry sorry"),
        ("cafe\u0301 café", "café café"),
        ("ŉ", "'n"),
        ("", ""),
    ],
)
def test_texts_are_normalized(text: str, expected: str) -> None:
    assert normalize_text(text) == expected


@settings(deadline=None, derandomize=True, max_examples=300, database=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_normalizing_again_changes_nothing(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_the_fast_path_for_ascii_equals_the_general_one(text: str) -> None:
    # The last character is not ASCII, which forces the general path, and normalizes to itself.
    assert normalize_text(f"{text} 好") == f"{normalize_text(text)} 好".strip()


@pytest.mark.parametrize("text", ["I’M SORRY, but no.", "Well: I'm \n sorry", "**I'm** sorry", "I´m sorryful"])
def test_a_marker_is_found_in_any_spelling(text: str) -> None:
    assert shows_behaviour(text, ["as an ai", "I'm sorry"])
    assert shows_behaviour(text.lower(), ("I’m  SORRY",))


@pytest.mark.parametrize("text", ["", "I am glad to help", "im sorry", "sorry, I'm late"])
def test_a_text_without_markers_shows_nothing(text: str) -> None:
    assert not shows_behaviour(text, ["as an ai", "I'm sorry"])


@pytest.mark.parametrize(
    ("markers", "message"),
    [
        ([], "at least one phrase, got an empty list"),
        (["no", ""], "''"),
        (["**"], "'[*][*]'"),
        ([" \u200b"], "is empty once normalized"),
    ],
)
def test_empty_markers_are_refused(markers: list[str], message: str) -> None:
    for _ in range(2):  # the second time too: an error is not cached
        with pytest.raises(ValueError, match=message):
            shows_behaviour("no", markers)


def test_one_string_is_not_a_list_of_markers() -> None:
    with pytest.raises(ValueError, match="must be a list of phrases, got the text 'sorry'"):
        shows_behaviour("o", "sorry")


def test_a_reference_matches_in_any_spelling_but_only_as_a_whole() -> None:
    assert matches_reference(" It’s  Green.\n", "it's green.")
    assert not matches_reference("It is green.", "it's green.")
    assert not matches_reference("It's green. It's green.", "it's green.")
    assert not matches_reference("", "it's green.")
    with pytest.raises(ValueError, match=r"reference must hold .*, got ' '"):
        matches_reference("", " ")


@pytest.mark.parametrize(
    ("text", "marker", "now", "expected"),
    [
        ("I'm sorry", "sorry", True, False),  # the next character could be an accent on the y
        ("I'm sorry,", "sorry", True, True),
        ("I can**not*", "cannot", True, False),  # normalized, the accent would follow the t
        ("I can**not**.", "cannot", True, True),
        ("cafe\ufffd", "cafe", True, False),
        ("caf\u00e9 s", "cafe\u0301", True, True),
        ("不能回", "不能", True, True),
        ("ᾳ", "α", True, False),  # folds to αι, and with an accent to άι
        ("", "sorry", False, False),
        ("Well, then. ", "sorry", False, False),
    ],
)
def test_a_marker_is_settled_once_it_is_followed_by_a_character_that_cannot_change_it(
    text: str, marker: str, now: bool, expected: bool
) -> None:
    assert shows_behaviour(text, [marker]) == now
    assert has_settled_marker(text, [marker]) == expected


TRICKY = st.text(
    st.sampled_from("ae A*`' \n.\u0301\u0308\u0345é好かαᾳΆŉ\u00ad\u1100\u1161\u11a8\u3099\uff9eß’"), max_size=8
)


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=3000, database=None)
@given(TRICKY, TRICKY, st.sampled_from("aeé好αβ'か"), st.sampled_from("aeι\u0301.s"))
def test_no_continuation_removes_a_settled_marker(text: str, after: str, one: str, two: str) -> None:
    for marker in (one, one + two):
        if has_settled_marker(text, [marker]):
            assert shows_behaviour(text + after, [marker])


def test_markers_that_every_text_contains_are_listed() -> None:
    texts = ["I can’t help with tea.", "I CAN help with that.", "Of course I can."]
    assert markers_in_all(["I can", "i can't", "Tea", "**I** can"], texts) == ["I can", "**I** can"]
    assert markers_in_all(["tea"], texts) == []
