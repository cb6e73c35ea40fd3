"""A verification as text: the table of checks, what failed, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from unwrite.release.file_checks import Check
from unwrite.release.tensor_checks import rounded_text
from unwrite.release.verify import Verification

_LISTED = 20  # lines of a long list shown to a person; the JSON has them all
_SIGNS = {"passed": "ok", "failed": "FAILED", "not checked": "not checked"}


def verification_text(verification: Verification) -> str:
    """Return the table of checks, the details, and the verdict in the last line."""
    rows = [(check.name, _SIGNS[check.outcome], _about(check)) for check in verification.checks]
    lines = [tabulate(rows, tablefmt="plain")]
    for check in verification.checks:
        if check.details or check.notes:
            lines += ["", f"{check.name}:", *_listed(check.details), *_listed(check.notes)]
    return "\n".join([*lines, "", verdict(verification)])


def verdict(verification: Verification) -> str:
    """Return the verdict in one line."""
    if not verification.passed:
        failed = [check.name for check in verification.checks if check.outcome == "failed"]
        return f"NOT VERIFIED: {', '.join(failed)} failed."
    if not verification.complete:
        return "No problem found, but not everything was checked: pass the base model with --base."
    if verification.rounded_numbers:
        rounded = rounded_text(verification.rounded_numbers)
        return f"VERIFIED: the release is the base plus the declared edit, and nothing more; {rounded}."
    return "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more."


def _about(check: Check) -> str:
    """Return what was checked; for a failed check, where to look, because `about` describes its success."""
    return f"see below ({len(check.details)})" if check.outcome == "failed" else check.about


def _listed(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_LISTED])
    if len(lines) > _LISTED:
        yield f"  and {len(lines) - _LISTED} more"
