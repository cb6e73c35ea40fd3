"""The page of a comparison: two releases or revisions next to each other, figures, edits, directions and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unwrite.report.page import render_page, response_section
from unwrite.report.response_pairs import ResponsePair
from unwrite.report.results import ResultGroup, result_groups
from unwrite.schema.evaluation import Comparison, Evaluation

TAG_NAMES = {
    "removed": "shown by A alone",
    "appeared": "shown by B alone",
    "remained": "shown by both",
    "degenerate": "degenerate in B",
    "gained": "reference right in B alone",
    "lost": "reference right in A alone",
}
_INTRODUCTION = "The responses of both edited models to the test prompts that both answered: first those that differ."


def comparison_page(
    *,
    comparison: Mapping[str, Any],
    evaluations: tuple[Evaluation | None, Evaluation | None],
    pairs: Sequence[ResponsePair],
    comparisons: Sequence[Comparison],
    untested: Sequence[str],
    charts: Mapping[str, str],
) -> str:
    """Return the page as HTML. All text is escaped; only scripts and data are inserted as they are.

    Args:
        comparison: what `unwrite diff --json` prints: sources, directions, parameters, recipes, writers, notes.
        evaluations: those of A and B; None for a side without one.
        pairs: the responses of both edited models, as `edited_pairs` returns them.
        comparisons: the rates of both on the same prompts, tested in pairs; "base" in them is A, "edited" is B.
        untested: why the others were not, a sentence each without a period.
        charts: Vega-Lite specifications as JSON, by name.
    """
    names = (comparison["a"]["name"], comparison["b"]["name"])
    return render_page(
        "comparison.html.jinja",
        title=f"{names[0]} and {names[1]} compared",
        charts=charts,
        map_data=None,
        names=names,
        comparison=comparison,
        evaluations=evaluations,
        groups=compared_groups(*evaluations, comparisons),
        comparisons=comparisons,
        untested=untested,
        **response_section(pairs, ("A", "B"), TAG_NAMES, _INTRODUCTION),
    )


def compared_groups(
    a: Evaluation | None, b: Evaluation | None, comparisons: Sequence[Comparison] = ()
) -> list[ResultGroup]:
    """Return the rates of both edited models, set by set; none where a side has no evaluation."""
    if a is None or b is None:
        return []
    return result_groups(b.model_copy(update={"base": a.edited, "comparisons": list(comparisons)}))


def edited_pairs(a: Sequence[ResponsePair], b: Sequence[ResponsePair]) -> list[ResponsePair]:
    """Return both edited models' responses to the prompts that both answered: first those that differ, as in B."""
    known = {(pair.prompts, pair.prompt): pair for pair in a}
    both = [
        pair._replace(base=known[pair.prompts, pair.prompt].edited)
        for pair in b
        if (pair.prompts, pair.prompt) in known
    ]
    return sorted(both, key=lambda pair: pair.base.text == pair.edited.text)
