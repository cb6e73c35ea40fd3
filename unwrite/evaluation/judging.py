"""Judge responses by markers: what each of them shows, why it is degenerate, and whether it is right."""

from __future__ import annotations

from collections.abc import Sequence

from unwrite.core.degeneration import degeneration_of
from unwrite.core.markers import matches_reference
from unwrite.core.spans import find_marker
from unwrite.errors import as_user_error
from unwrite.schema.evaluation import Verdict


def judge_response(response: str, markers: Sequence[str], *, reference: str | None, tokens: int, cut: bool) -> Verdict:
    """Judge one response by markers.

    Args:
        response: what the model said.
        markers: phrases that mark the behaviour, at least one.
        reference: the right answer, if it is known.
        tokens: the length of the response.
        cut: whether it reached the limit.

    Raises:
        UnwriteError: a marker or the reference is empty once normalized.
    """
    with as_user_error("The marker list", "Remove that line from the marker file."):
        found = find_marker(response, markers)
    with as_user_error("The prompts", "Give that prompt an answer, or no reference."):
        correct = None if reference is None else matches_reference(response, reference)
    return Verdict(
        shown=found is not None,
        markers=found is not None,
        marker=None if found is None else found.marker,
        span=None if found is None else (found.start, found.stop),
        classifier=None,
        probability=None,
        degenerate=degeneration_of(response),
        tokens=tokens,
        cut=cut,
        correct=correct,
    )
