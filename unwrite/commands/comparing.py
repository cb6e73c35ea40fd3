"""The command that compares two releases or revisions on a page."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import click

from unwrite.commands.running import FILE, expected_errors

if TYPE_CHECKING:
    from unwrite.history.side import Side
    from unwrite.report.paired_verdicts import JudgedSide
    from unwrite.schema.evaluation import Evaluation


class _Measured(NamedTuple):
    """What a side has of its evaluation, and its responses with what judged them."""

    evaluation: Evaluation | None
    judged: JudgedSide


@click.command("compare")
@click.argument("a")
@click.argument("b", required=False)
@click.option("--output", type=FILE, default=Path("compare.html"), show_default=True, help="The page to write.")
@expected_errors
def compare_sides(a: str, b: str | None, output: Path) -> None:
    """Compare two releases or revisions on one page: figures, edits, directions, responses.

    A and B (default: the workspace) are folders of releases, git revisions or DVC experiments. What belongs to a
    revision comes from DVC's cache or its remote. Where both have responses, these are shown; where they answer the
    same prompts and are judged alike, rates are compared in pairs (exact McNemar test, Holm's correction).
    """
    from unwrite.evaluation.comparisons import compare_models
    from unwrite.files.records import write_text
    from unwrite.history.diff import compare
    from unwrite.history.revisions import load_side
    from unwrite.report.comparison_charts import comparison_charts
    from unwrite.report.comparison_page import comparison_page, edited_pairs
    from unwrite.report.paired_verdicts import paired_verdicts

    sides = load_side(a), load_side(b)
    comparison = compare(*sides).model_dump()
    first, second = _measured(a, sides[0]), _measured(b, sides[1])
    paired = paired_verdicts(first.judged, second.judged)
    page = comparison_page(
        comparison=comparison,
        evaluations=(first.evaluation, second.evaluation),
        pairs=edited_pairs(first.judged.pairs, second.judged.pairs),
        comparisons=compare_models(paired.a, paired.b),
        untested=paired.reasons,
        charts=comparison_charts([side.recipe for side in sides], comparison["directions"]),
    )
    write_text(output, page)
    click.echo(f"The comparison is in {output}.")


def _measured(argument: str | None, side: Side) -> _Measured:
    """Return what a side has of evaluation and responses."""
    from unwrite.history.stored_files import copy_artifacts
    from unwrite.report.paired_verdicts import JudgedSide
    from unwrite.report.response_pairs import read_pairs
    from unwrite.schema.artifacts import read_artifact
    from unwrite.schema.evaluation import Evaluation
    from unwrite.schema.paths import EVALUATION, RESPONSES, VERDICTS

    with TemporaryDirectory() as folder:
        target = Path(folder)
        copy_artifacts(argument, [EVALUATION, RESPONSES, VERDICTS], target)
        stated = target / EVALUATION.name
        evaluation = read_artifact(Evaluation, stated, "score_responses") if stated.exists() else None
        responses, verdicts = target / RESPONSES.name, target / VERDICTS.name
        if not responses.is_dir():
            return _Measured(evaluation, JudgedSide([], {}))
        pairs = read_pairs(responses, verdicts if verdicts.is_dir() else None)
    return _Measured(evaluation, JudgedSide(pairs, _judges(argument, side, evaluation, {one.prompts for one in pairs})))


def _judges(argument: str | None, side: Side, evaluation: Evaluation | None, sets: set[str]) -> dict[str, object]:
    """Return what judged each prompt set: the classifier without its place, or the content of the marker file."""
    if evaluation is None or side.parameters is None:
        return {}
    used = evaluation.classifier
    by_classifier = None if used is None else used.model_dump(exclude={"source", "commit"})
    judges: dict[str, object] = {}
    for name in sorted(sets):
        own = side.parameters.get(f"evaluate.sets.{name}.markers")
        if by_classifier is not None and name not in evaluation.own_markers:
            judges[name] = by_classifier
        else:
            judges[name] = _content(argument, own or side.parameters.get("judge.markers"))
    return judges


def _content(argument: str | None, path: object) -> bytes | None:
    """Return a file of a side, as far as it has it."""
    from unwrite.history.stored_files import copy_artifacts

    if not isinstance(path, str) or Path(path).is_absolute() or ".." in Path(path).parts:
        return None  # of another project's parameters, which can be anyone's
    with TemporaryDirectory() as folder:
        copy_artifacts(argument, [Path(path)], Path(folder))
        copied = Path(folder, Path(path).name)
        return copied.read_bytes() if copied.is_file() else None
