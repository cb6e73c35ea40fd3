"""The command line. Each command imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from unwrite.errors import UnwriteError

P = ParamSpec("P")


def _expected_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Shows an expected error as one or two lines with exit code 1; a bug keeps its traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except UnwriteError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)

    return wrapped


@click.group()
@click.version_option(package_name="unwrite")
def main() -> None:
    """Find the direction that carries one behaviour, remove it from the weights, measure what that did.

    The pipeline itself is DVC's: edit params.yaml, then run `dvc repro`.
    """


@main.command()
@click.option("--params", "path", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@_expected_errors
def check(path: Path) -> None:
    """Validate params.yaml and the prompt and marker files it names, without running anything."""
    from unwrite.files.prompts import cut_splits, read_markers, read_prompts, refuse_shared_prompts
    from unwrite.params import load_params

    params = load_params(path)
    sizes = params.tokenize.splits.model_dump()
    files = {"target": Path(params.tokenize.target), "baseline": Path(params.tokenize.baseline)}
    refuse_shared_prompts({name: cut_splits(file, read_prompts(file), sizes) for name, file in files.items()})
    read_markers(Path(params.judge.markers))
    if params.select.max_behaviour_rate < params.optimize.max_behaviour_rate:
        click.echo(
            "note: the search aims at a higher optimize.max_behaviour_rate than select.max_behaviour_rate asks for."
        )
    click.echo(f"{path} is valid.")


@main.command()
@_expected_errors
def summary() -> None:
    """Print the last evaluation: rates before and after with intervals, divergence, where things are."""
    from unwrite.artifacts import Evaluation, read_artifact
    from unwrite.params import load_params
    from unwrite.paths import EVALUATION
    from unwrite.report.tables import summary as text

    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    click.echo(text(evaluation, load_params().report.behaviour))


@main.command()
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit, for a hub id.")
@_expected_errors
def writers(model: str, revision: str | None) -> None:
    """Show which parameters of MODEL (a folder or hub id) write its residual stream.

    Needs no weights: it is the architecture that decides, so a quantized checkpoint will do.
    """
    from unwrite.models.loading import load_config
    from unwrite.models.miniature import build_on_meta
    from unwrite.models.source import resolve_source
    from unwrite.models.writers import find_writers
    from unwrite.report.writers import writers_table

    config = load_config(resolve_source(model, revision, weights=False).folder, weights=False)
    discovery = find_writers(config)
    full = build_on_meta(config)
    shapes = {writer.parameter: list(full.get_parameter(writer.parameter).shape) for writer in discovery.writers}
    click.echo(writers_table(discovery, shapes))
    if discovery.incomplete:
        raise UnwriteError("\n".join(("some of it can't be edited exactly:", *discovery.incomplete)))


if __name__ == "__main__":
    main()
