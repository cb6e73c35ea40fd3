"""What both sides answered to the same prompts, judged alike, is tested in pairs; of the rest, the reason is told."""

from __future__ import annotations

import pytest

from tests.support.report_pages import pair
from unwrite.report.paired_verdicts import JudgedSide, paired_verdicts
from unwrite.report.response_pairs import ResponsePair


def side(*shown: bool, prompts: str = "target", judge: bytes | None = b"sorry", first: str = "q") -> JudgedSide:
    """A side whose edited model shows the behaviour where it is said to, on a numbered prompt each."""
    pairs = [
        pair(number, "b", "e", shown=(False, shows), prompts=prompts, prompt=f"{first}{number}")
        for number, shows in enumerate(shown, 1)
    ]
    return JudgedSide(pairs, {prompts: judge})


def unjudged(one: ResponsePair) -> ResponsePair:
    return one._replace(edited=one.edited._replace(verdict=None))


def test_verdicts_are_paired_prompt_by_prompt() -> None:
    found = paired_verdicts(side(True, True, False), side(False, True, False))
    assert [verdict.shown for verdict in found.a["target"]] == [True, True, False]
    assert [verdict.shown for verdict in found.b["target"]] == [False, True, False]
    assert found.reasons == []


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (side(True), side(True, first="other "), "target: the prompts differ"),
        (side(True), side(True, True), "target: the prompts differ"),
        (side(True), side(True, judge=b"no"), "target: other markers or another classifier judged the responses"),
        (side(True), side(True, judge=None), "target: it is not known what judged the responses"),
        (
            side(True)._replace(pairs=[unjudged(side(True).pairs[0])]),
            side(True),
            "target: the verdicts of A are in no cache",
        ),
    ],
)
def test_what_cannot_be_tested_says_why(a: JudgedSide, b: JudgedSide, reason: str) -> None:
    assert paired_verdicts(a, b) == ({}, {}, [reason])


def test_a_set_of_one_side_is_told_and_the_others_are_tested() -> None:
    extra = side(True, prompts="near_misses")
    both = JudgedSide([*side(True).pairs, *extra.pairs], {**side().judges, "target": b"sorry", "near_misses": b"no"})
    found = paired_verdicts(side(True), both)
    assert list(found.a) == list(found.b) == ["target"]
    assert found.reasons == ["near_misses: B alone has this set"]


def test_a_side_without_responses_is_named() -> None:
    none = JudgedSide([], {})
    assert paired_verdicts(none, side(True)).reasons[0].startswith("A has no stored responses: a release holds none")
    assert paired_verdicts(none, none).reasons[0].startswith("A and B have no stored responses")
