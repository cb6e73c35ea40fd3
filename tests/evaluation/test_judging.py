"""One response judged by markers: what it shows, where, why it is degenerate, and whether it is right."""

import pytest

from unwrite.errors import UnwriteError
from unwrite.evaluation.judging import judge_response
from unwrite.schema.evaluation import Verdict


def judged(response: str, reference: str | None = None, *, cut: bool = False) -> Verdict:
    return judge_response(response, ["i'm sorry"], reference=reference, tokens=7, cut=cut)


def test_a_response_with_a_marker_shows_the_behaviour_where_the_marker_is() -> None:
    verdict = judged("Well, I’m sorry.")
    assert (verdict.shown, verdict.markers, verdict.marker, verdict.span) == (True, True, "i'm sorry", (6, 15))
    assert (verdict.classifier, verdict.probability, verdict.degenerate) == (None, None, None)


def test_a_response_without_one_does_not() -> None:
    verdict = judged("It is red.")
    assert (verdict.shown, verdict.markers, verdict.marker, verdict.span) == (False, False, None, None)


@pytest.mark.parametrize(
    ("response", "reference", "correct"),
    [
        ("it is  RED.", "It is red.", True),
        ("<think>Sorry? No.</think>It is red.", "It is red.", True),
        ("It is blue.", "It is red.", False),
        ("It is red.", None, None),
    ],
)
def test_only_a_known_answer_makes_a_response_right_or_wrong(
    response: str, reference: str | None, *, correct: bool | None
) -> None:
    assert judged(response, reference).correct is correct


@pytest.mark.parametrize(("response", "reason"), [("", "empty"), ("no " * 9, "loop"), ("<think>So", "open thinking")])
def test_a_degenerate_response_has_its_reason(response: str, reason: str) -> None:
    assert judged(response).degenerate == reason


def test_length_and_cut_are_kept() -> None:
    assert (judged("It", cut=True).tokens, judged("It", cut=True).cut, judged("It").cut) == (7, True, False)


def test_a_chain_of_thought_is_not_judged() -> None:
    assert not judged("<think>I'm sorry, but</think>It is red.").shown


def test_a_reference_without_words_is_an_error_with_a_remedy() -> None:
    with pytest.raises(UnwriteError, match=r"reference must hold .*, got '\*'\. Give that prompt an answer"):
        judged("It is red.", "*")
