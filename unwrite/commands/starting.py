"""Commands to start a project, and to find out what keeps it from running."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unwrite.commands.running import FILE, expected_errors

if TYPE_CHECKING:
    from unwrite.projects.new_project import Answers

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--model", help="A folder, or a hub id such as Qwen/Qwen3-4B.  [default: the demo's, copied]")
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option("--target", type=_PATH, help="Prompts that show the behaviour: .txt, .jsonl, .csv …, or a data set.")
@click.option("--baseline", type=_PATH, help="Prompts that do not, and are otherwise as similar as possible.")
@click.option("--column", help="Of tables and data sets: the column with the prompts.  [default: prompt]")
@click.option("--split", help="Of data sets: which of their splits.")
@click.option("--markers", type=FILE, help="Telltale phrases, one per line. Without: `unwrite markers` proposes some.")
@click.option("--behaviour", help="The behaviour in one line, such as: declines questions about tea.")
@expected_errors
def init(
    *,
    folder: Path,
    model: str | None,
    revision: str | None,
    target: Path | None,
    baseline: Path | None,
    markers: Path | None,
    behaviour: str | None,
    column: str | None,
    split: str | None,
) -> None:
    """Make a new project in DIR: pipeline, params.yaml, prompts, git repository and DVC project.

    Asks for what is not given, on a terminal; otherwise asks nothing. Without a model, DIR holds the demo.
    """
    from unwrite.projects.create import create_project, refuse_occupied
    from unwrite.projects.new_project import Answers
    from unwrite.report.plots_page import plots_page
    from unwrite.schema.params import load_params

    refuse_occupied(folder)
    answers = Answers(model, revision, target, baseline, markers, behaviour, column, split)
    if is_terminal():
        answers = _asked(answers)
    for note in create_project(folder, answers, plots_page=plots_page()):
        click.echo(f"note: {note}")
    marker_file = load_params(folder / "params.yaml").judge.markers
    propose = [] if (folder / marker_file).is_file() else [f"unwrite markers --write {marker_file}"]
    steps = " && ".join([f"cd {folder}", *propose, "dvc repro"])
    click.echo(f"{folder} is ready. Next: {steps}")


@click.command()
@expected_errors
def doctor() -> None:
    """Check what the pipeline stands on: packages, devices, memory and disk, DVC's settings, git, and the last upgrade.

    Every finding has its remedy. The exit code is 1 only if something will stop the pipeline.
    """
    from unwrite.doctor.diagnosis import diagnoses_text
    from unwrite.doctor.examine import examine

    findings = examine(Path.cwd())
    click.echo(diagnoses_text(findings))
    sys.exit(1 if any(finding.severity == "stop" for finding in findings) else 0)


def is_terminal() -> bool:
    """Return whether somebody can answer questions."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked(given: Answers) -> Answers:
    """Ask for what is not given; an empty answer leaves it open."""
    model = given.model or _answer("Model: a folder, or a hub id (empty: the demo)")
    target, baseline, markers, behaviour = given.target, given.baseline, given.markers, given.behaviour
    column = given.column
    if model is not None and target is None and baseline is None:
        target = _file("File of target prompts, which show the behaviour (empty: the demo's as an example)")
    if target is not None:
        baseline = baseline or _file("File of baseline prompts, which do not")
        if target is not None and given.column is None and _is_table(target):
            column = _answer("The column with the prompts (empty: prompt)")
        markers = markers or _file("File of telltale phrases (empty: to be proposed later)")
        behaviour = behaviour or _answer("The behaviour in one line, such as: declines questions about tea")
    return given._replace(
        model=model, target=target, baseline=baseline, markers=markers, behaviour=behaviour, column=column
    )


def _is_table(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in {".csv", ".tsv", ".parquet"}


def _answer(question: str) -> str | None:
    answer: str = click.prompt(question, default="", show_default=False)
    return answer.strip() or None


def _file(question: str) -> Path | None:
    answer = _answer(question)
    return None if answer is None else Path(answer).expanduser()
