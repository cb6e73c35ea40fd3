"""Two spellings of the same words are equal, and markers are found in any of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.markers import matches_reference, normalize_text, shows_behaviour
from unwrite.errors import UnwriteError


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
def test_normalized(text: str, expected: str) -> None:
    assert normalize_text(text) == expected


@settings(deadline=None, derandomize=True, max_examples=300, database=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_normalizing_again_changes_nothing(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once


@pytest.mark.parametrize("text", ["I’M SORRY, but no.", "Well: I'm \n sorry", "**I'm** sorry", "I´m sorryful"])
def test_marker_in_any_spelling(text: str) -> None:
    assert shows_behaviour(text, ["as an ai", "I'm sorry"])
    assert shows_behaviour(text.lower(), ("I’m  SORRY",))


@pytest.mark.parametrize("text", ["", "I am glad to help", "im sorry", "sorry, I'm late"])
def test_no_marker(text: str) -> None:
    assert not shows_behaviour(text, ["as an ai", "I'm sorry"])


@pytest.mark.parametrize(
    ("markers", "message"),
    [
        ([], "empty list of markers"),
        (["no", ""], "''"),
        (["**"], "'[*][*]'"),
        ([" \u200b"], "is empty once normalized"),
    ],
)
def test_markers_that_decide_nothing_are_refused(markers: list[str], message: str) -> None:
    for _ in range(2):  # the second time too
        with pytest.raises(UnwriteError, match=message):
            shows_behaviour("no", markers)


def test_one_string_is_not_a_list_of_markers() -> None:
    with pytest.raises(UnwriteError, match="'sorry' came, expected a list of phrases"):
        shows_behaviour("o", "sorry")


def test_reference() -> None:
    assert matches_reference(" It’s  Green.\n", "it's green.")
    assert not matches_reference("It is green.", "it's green.")
    assert not matches_reference("It's green. It's green.", "it's green.")
    assert not matches_reference("", "it's green.")
    with pytest.raises(UnwriteError, match="reference ' ' came"):
        matches_reference("", " ")
