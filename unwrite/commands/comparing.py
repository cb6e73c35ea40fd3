"""The command that compares two releases or revisions on a page."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from unwrite.commands.running import FILE, expected_errors

if TYPE_CHECKING:
    from unwrite.report.response_pairs import ResponsePair
    from unwrite.schema.evaluation import Evaluation


@click.command("compare")
@click.argument("a")
@click.argument("b", required=False)
@click.option("--output", type=FILE, default=Path("compare.html"), show_default=True, help="The page to write.")
@expected_errors
def compare_sides(a: str, b: str | None, output: Path) -> None:
    """Compare two releases or revisions on one page: figures, edits, directions, responses.

    A and B (default: the workspace) are folders of releases, git revisions or DVC experiments. What belongs to a
    revision comes from DVC's cache or its remote; responses are shown where both have them.
    """
    from unwrite.files.records import write_text
    from unwrite.history.diff import compare
    from unwrite.history.revisions import load_side
    from unwrite.report.comparison_charts import comparison_charts
    from unwrite.report.comparison_page import comparison_page, edited_pairs

    sides = load_side(a), load_side(b)
    comparison = compare(*sides).model_dump()
    (first, answers_a), (second, answers_b) = _measured(a), _measured(b)
    page = comparison_page(
        comparison=comparison,
        evaluations=(first, second),
        pairs=edited_pairs(answers_a, answers_b),
        charts=comparison_charts([side.recipe for side in sides], comparison["directions"]),
    )
    write_text(output, page)
    click.echo(f"The comparison is in {output}.")


def _measured(argument: str | None) -> tuple[Evaluation | None, list[ResponsePair]]:
    """Return what a side has of evaluation and responses."""
    from unwrite.history.stored_files import copy_artifacts
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
            return evaluation, []
        return evaluation, read_pairs(responses, verdicts if verdicts.is_dir() else None)
