"""What an examination finds, and how it is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal, NamedTuple

Severity = Literal["ok", "note", "stop"]
"""Fine; worth a change, though everything runs; or something that will stop the pipeline."""
_WIDTH = 118


class Diagnosis(NamedTuple):
    """A fact, its severity, and what to do about it (empty if nothing)."""

    severity: Severity
    fact: str
    remedy: str = ""


def diagnoses_text(findings: Sequence[Diagnosis]) -> str:
    """Return the findings, one after another, and how many of them stop the pipeline."""
    lines = [_text(finding) for finding in findings]
    stops = sum(finding.severity == "stop" for finding in findings)
    verdict = "Nothing here stops the pipeline." if not stops else f"Will stop the pipeline: {stops}."
    return "\n".join([*lines, "", verdict])


def _text(finding: Diagnosis) -> str:
    remedy = f" → {finding.remedy}" if finding.remedy else ""
    return textwrap.fill(
        f"{finding.severity:<6}{finding.fact}{remedy}",
        _WIDTH,
        subsequent_indent=" " * 6,
        break_long_words=False,
        break_on_hyphens=False,
    )
