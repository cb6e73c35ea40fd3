"""The text of a verification: the table, the details, the verdict."""

from __future__ import annotations

import json

import pytest

from tests.support.releases import (
    Release,
    changed_json,
    failed,
    verified,
)
from unwrite.release.file_checks import Check, CheckOutcome
from unwrite.release.verdict import LIMITS, verdict, verification_text
from unwrite.release.verify import Verification


def test_long_list_is_shortened_in_the_text_only(release: Release) -> None:
    for number in range(30):
        (release.folder / f"extra{number:02}").write_text("")
    found = verified(release)
    assert len(failed(found)["files"].splitlines()) == 30
    text = verification_text(found)
    assert "extra19" in text
    assert "extra20" not in text
    assert "and 10 more" in text


def test_control_codes_are_escaped(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["externalParameters"]["base"]["source"] = "\x1b[8mhidden"
    (release.folder / "\udcff").write_text("a name that is not UTF-8")
    found = verified(release)
    text = verification_text(found)
    assert "\x1b" not in text
    assert "\\x1b[8mhidden" in text
    assert "\\udcff is not" in text
    assert json.loads(found.model_dump_json())["passed"] is False


def verification(*outcomes: CheckOutcome, rounded: int = 0) -> Verification:
    """A verification with checks of these outcomes, named by number."""
    checks = [
        Check(name=f"check {number}", outcome=outcome, about="about", details=["detail"] * (outcome == "failed"))
        for number, outcome in enumerate(outcomes)
    ]
    passed, complete = "failed" not in outcomes, "not checked" not in outcomes
    return Verification(passed=passed, complete=complete, checks=checks, tensors=None, rounded_numbers=rounded)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            verification("passed"),
            "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more.",
        ),
        (
            verification("passed", rounded=1),
            "VERIFIED: the release is the base plus the declared edit, and nothing more; "
            "1 value differs by one unit in the last place.",
        ),
        (
            verification("passed", rounded=1200),
            "VERIFIED: the release is the base plus the declared edit, and nothing more; "
            "1,200 values differ by one unit in the last place.",
        ),
        (
            verification("passed", "not checked"),
            "No problem found, but not everything was checked: pass the base model with --base.",
        ),
        (verification("failed", "passed", "failed", rounded=1), "NOT VERIFIED: check 0, check 2 failed."),
        (verification("failed", "not checked"), "NOT VERIFIED: check 0 failed."),
    ],
)
def test_verdict_comes_last_and_then_what_it_does_not_prove(found: Verification, expected: str) -> None:
    *_, last, limits = verification_text(found).splitlines()
    assert verdict(found) == expected == (last if found.passed else limits)
    assert (limits == LIMITS) is found.passed


def test_failed_check_shows_its_details_instead_of_its_claim() -> None:
    text = verification_text(verification("failed", "passed"))
    assert text.startswith("check 0  FAILED  see below (1)\ncheck 1  ok      about\n\ncheck 0:\n  detail\n")
