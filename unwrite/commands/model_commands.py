"""Commands for a model that need no project."""

from __future__ import annotations

import click

from unwrite.commands.running import expected_errors
from unwrite.errors import UnwriteError


@click.command()
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit, for a hub id.")
@expected_errors
def writers(model: str, revision: str | None) -> None:
    """Show which parameters of MODEL (a folder, a config.json or a hub id) write its residual stream.

    Needs no weights: the architecture decides, so a quantized checkpoint works too.
    """
    from pathlib import Path

    from unwrite.models.discovery.miniature import build_on_meta
    from unwrite.models.discovery.writers import find_writers
    from unwrite.models.loading import load_config
    from unwrite.models.source import resolve_source
    from unwrite.report.writer_table import writers_table
    from unwrite.schema.reasons import grouped_reasons

    if revision is None and Path(model).name == "config.json" and Path(model).is_file():
        model = str(Path(model).parent)
    config = load_config(resolve_source(model, revision, weights=False).folder, weights=False)
    discovery = find_writers(config)
    full = build_on_meta(config)
    shapes = {writer.parameter: list(full.get_parameter(writer.parameter).shape) for writer in discovery.writers}
    click.echo(writers_table(discovery, shapes))
    if discovery.incomplete:
        reasons = grouped_reasons(discovery.incomplete)
        raise UnwriteError("\n".join(("part of this model cannot be edited exactly:", *reasons)))
