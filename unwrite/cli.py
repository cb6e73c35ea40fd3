"""The command line: `unwrite` and its commands, which are in `unwrite/commands/`."""

from __future__ import annotations

import click

from unwrite.commands.chatting import chat
from unwrite.commands.comparing import compare_sides
from unwrite.commands.measurements import show_geometry
from unwrite.commands.model_commands import writers
from unwrite.commands.plotting import write_plots_page
from unwrite.commands.project import audit, check, diff, summary
from unwrite.commands.proposals import markers
from unwrite.commands.releases import explain, publish, verify
from unwrite.commands.starting import doctor, init


@click.group()
@click.version_option(package_name="unwrite")
def main() -> None:
    """Find the direction that carries one behaviour, remove it from the weights, and measure the effect.

    The pipeline itself is run by DVC: edit params.yaml, then run `dvc repro`.
    """


for _command in (
    init,
    doctor,
    check,
    markers,
    summary,
    show_geometry,
    chat,
    writers,
    diff,
    compare_sides,
    write_plots_page,
    verify,
    explain,
    audit,
    publish,
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
