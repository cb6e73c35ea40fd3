"""Commands that show what the pipeline measured, from its artifacts alone."""

from __future__ import annotations

import csv
import io
import json
import math

import click

from unwrite.commands.running import expected_errors


@click.command("geometry")
@click.option("--position", type=int, help="Show one position of residuals.positions, counted from 0; default: all.")
@click.option("--center", type=click.Choice(["mean", "median"]), default="mean", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every figure as CSV.")
@expected_errors
def show_geometry(*, position: int | None, center: str, as_json: bool, as_csv: bool) -> None:
    """Show how the directions lie and how well they separate the prompt sets, a row for each residual index."""
    from unwrite.report.curves import read_geometry_rows
    from unwrite.report.geometry_table import at_position, geometry_table
    from unwrite.schema.paths import CURVES

    if as_json and as_csv:
        raise click.UsageError("Choose one of --json and --csv.")
    rows = at_position(read_geometry_rows(CURVES), position)
    records = [{"position": row.position, "residual_index": row.residual_index, **row.figures} for row in rows]
    if as_json:
        # JSON has neither NaN nor infinity.
        finite = [{k: v if math.isfinite(v) else None for k, v in record.items()} for record in records]
        click.echo(json.dumps(finite, indent=2))
    elif as_csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if math.isnan(v) else v for k, v in record.items()} for record in records)
        click.echo(text.getvalue(), nl=False)
    else:
        click.echo(geometry_table(rows, "median" if center == "median" else "mean"))
