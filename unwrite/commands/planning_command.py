"""The command that says what a run will take, before it runs."""

from __future__ import annotations

import click

from unwrite.commands.running import expected_errors


@click.command("plan")
@click.option("--measure/--no-measure", default=True, show_default=True, help="Load the model to estimate times.")
@expected_errors
def show_plan(*, measure: bool) -> None:
    """Show what each stage will take of memory and time, and where the model will be.

    Memory follows from the model's configuration, params.yaml and the prompts; times from a few tokens that the model
    runs on here.
    """
    from unwrite.planning.plan import make_plan
    from unwrite.planning.plan_text import plan_text
    from unwrite.schema.params import load_params

    click.echo(plan_text(make_plan(load_params(), measure=measure)))
