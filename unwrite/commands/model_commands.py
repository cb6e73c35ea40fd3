"""Commands for a model that need no project."""

from __future__ import annotations

from pathlib import Path

import click

from unwrite.commands.running import FILE, FOLDER, expected_errors
from unwrite.errors import UnwriteError


@click.command()
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit, for a hub id.")
@expected_errors
def writers(model: str, revision: str | None) -> None:
    """Show which parameters of MODEL (a folder, config.json, GGUF file or hub id) write its residual stream.

    Needs no weights: the architecture decides, so a quantized checkpoint works too.
    """
    from unwrite.models.discovery.miniature import build_on_meta
    from unwrite.models.discovery.writers import find_writers
    from unwrite.pipeline.found_model import find_config
    from unwrite.report.writer_table import writers_table
    from unwrite.schema.reasons import grouped_reasons

    path = Path(model)
    if revision is None and path.name == "config.json" and path.is_file():
        model = str(path.parent)
    config = find_config(model, revision)
    discovery = find_writers(config)
    full = build_on_meta(config)
    shapes = {writer.parameter: list(full.get_parameter(writer.parameter).shape) for writer in discovery.writers}
    click.echo(writers_table(discovery, shapes))
    if discovery.incomplete:
        reasons = grouped_reasons(discovery.incomplete)
        raise UnwriteError("\n".join(("part of this model cannot be edited exactly:", *reasons)))


@click.command("dequantize")
@click.argument("file", type=FILE)
@click.argument("folder", type=FOLDER)
@expected_errors
def dequantize_file(file: Path, folder: Path) -> None:
    """Write the model in a GGUF FILE into a FOLDER as a plain checkpoint in bfloat16, whose weights can be edited.

    The pipeline does the same by itself if model.source is a GGUF file; with the same version of transformers, the
    files are the same everywhere.
    """
    from unwrite.pipeline.dequantized import write_dequantized

    write_dequantized(file, folder)
    click.echo(f"The model is in {folder}.")
