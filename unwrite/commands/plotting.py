"""The command that lets `dvc plots` draw without a network."""

from __future__ import annotations

import click

from unwrite.commands.running import expected_errors
from unwrite.errors import UnwriteError

_SETTING = "plots/page.html"  # relative to .dvc, as DVC reads it


@click.command("plots-page")
@expected_errors
def write_plots_page() -> None:
    """Let `dvc plots show` and `dvc plots diff` draw without a network, in this project.

    Writes .dvc/plots/page.html, which holds Vega (0.9 MB), and names it in .dvc/config; commit both.
    """
    from pathlib import Path

    from dvc.config import Config
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    from unwrite.files.records import write_text
    from unwrite.report.plots_page import plots_page

    try:
        folder = Path(Repo.find_dvc_dir())
    except NotDvcRepoError:
        raise UnwriteError("This is not a DVC project: run the command in the project's folder.") from None
    write_text(folder / _SETTING, plots_page())
    with Config(str(folder)).edit("repo") as config:
        config["plots"] = {**config.get("plots", {}), "html_template": _SETTING}
    click.echo("`dvc plots` draws without a network now. Commit .dvc/config and .dvc/plots.")
