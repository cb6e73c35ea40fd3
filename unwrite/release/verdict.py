"""A verification as text: the table of checks, what failed, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from unwrite.release.file_checks import Check
from unwrite.release.tensor_checks import rounded_text
from unwrite.release.unproven import Unproven
from unwrite.release.verify import OPTIONAL, Verification
from unwrite.release.writer_checks import WRITERS

_LISTED = 20  # lines of a long list shown to a person; the JSON has them all
LIMITS = "Not proven: why the edit was made, and the figures. For these you must trust the publisher."
_SIGNS = {"passed": "ok", "failed": "FAILED", "not checked": "not checked"}


def verification_text(verification: Verification) -> str:
    """Return the table of checks, the details, what is not proven, and the verdict; last, what no check proves."""
    rows = [(check.name, _SIGNS[check.outcome], _about(check)) for check in verification.checks]
    lines = [tabulate(rows, tablefmt="plain")]
    for check in verification.checks:
        if check.details or check.notes:
            lines += ["", f"{check.name}:", *_listed(check.details), *_listed(check.notes)]
    if verification.passed and verification.unproven:
        lines += ["", "not proven:", *(f"  {_described(one)}" for one in verification.unproven)]
    lines += ["", verdict(verification)]
    return "\n".join([*lines, LIMITS] if verification.passed else lines)


def verdict(verification: Verification) -> str:
    """Return the verdict in one line."""
    if not verification.passed:
        failed = [check.name for check in verification.checks if check.outcome == "failed"]
        return f"NOT VERIFIED: {', '.join(failed)} failed."
    unusual = f"UNUSUAL: {'; '.join(verification.unusual)}."
    if not verification.complete:
        text = f"No problem found, but not everything was checked: {_unchecked(verification)}."
        return f"{text} {unusual}" if verification.unusual else text
    if verification.unusual:
        return f"VERIFIED as declared; {unusual}"
    if verification.rounded_numbers:
        rounded = rounded_text(verification.rounded_numbers)
        return f"VERIFIED: the release is the base plus the declared edit, and nothing more; {rounded}."
    return "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more."


def _unchecked(verification: Verification) -> str:
    checks = {check.name: check for check in verification.checks if check.outcome == "not checked"}
    if WRITERS in checks and checks.keys() <= {WRITERS, *OPTIONAL}:
        return f"{WRITERS} ({checks[WRITERS].about})"
    return "pass the base model with --base"


def _described(one: Unproven) -> str:
    fields = [field.removeprefix("predicate.buildDefinition.") for field in one.fields]
    return f"{one.file}: {one.reason}" + (f" ({', '.join(fields)})" if fields else "")


def _about(check: Check) -> str:
    """Return what was checked; for a failed check, where to look, because `about` describes its success."""
    return f"see below ({len(check.details)})" if check.outcome == "failed" else check.about


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_LISTED])
    if len(lines) > _LISTED:
        yield f"  and {len(lines) - _LISTED} more"
