"""Commands for the project in this folder: its parameters, results, history and artifacts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from unwrite.commands.running import expected_errors


@click.command()
@click.option("--params", "path", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@expected_errors
def check(path: Path) -> None:
    """Validate params.yaml, the prompt and marker files it names, and the classifier, without running anything."""
    from unwrite.pipeline.check import check_params

    for note in check_params(path):
        click.echo(f"note: {note}")
    click.echo(f"{path} is valid.")


@click.command()
@expected_errors
def summary() -> None:
    """Print the last evaluation: rates before and after with intervals, KL divergences, and where the results are."""
    from unwrite.report.benchmark_table import benchmarks_text
    from unwrite.report.calibration_table import calibration_text
    from unwrite.report.tables import summary_text
    from unwrite.schema.artifacts import read_artifact
    from unwrite.schema.evaluation import Benchmarks, Evaluation
    from unwrite.schema.params import load_params
    from unwrite.schema.paths import BENCHMARKS, EVALUATION

    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    click.echo(summary_text(evaluation, load_params().report.behaviour))
    if evaluation.calibration is not None:
        click.echo(f"\n{calibration_text(evaluation.calibration, evaluation.classifier)}")
    if BENCHMARKS.exists() and (text := benchmarks_text(read_artifact(Benchmarks, BENCHMARKS, "run_benchmarks"))):
        click.echo(f"\n{text}")


@click.command()
@click.argument("a", metavar="[REV_A]", default="HEAD")
@click.argument("b", metavar="[REV_B]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@expected_errors
def diff(a: str, b: str | None, as_json: bool) -> None:
    """Compare directions layer by layer, and the parameters and recipes that go with them.

    REV_A (default: HEAD) and REV_B (default: the workspace) are git revisions, DVC experiments, files of directions, or
    folders that hold one, such as a release. Tensors of a revision come from DVC's cache or its remote.
    """
    from unwrite.history.diff import compare
    from unwrite.history.diff_text import comparison_text
    from unwrite.history.revisions import load_side

    comparison = compare(load_side(a), load_side(b))
    click.echo(comparison.model_dump_json(indent=2) if as_json else comparison_text(comparison))


@click.command()
@expected_errors
def audit() -> None:
    """Check every artifact against dvc.lock and against the checksums that its stage recorded."""
    from unwrite.release.audit import audit_project, audit_text

    findings = audit_project()
    click.echo(audit_text(findings))
    sys.exit(1 if findings else 0)
