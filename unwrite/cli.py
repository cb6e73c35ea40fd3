"""The command line: `unwrite` and its commands, which are in `unwrite/commands/`."""

from __future__ import annotations

from typing import Any

import click

from unwrite.commands.chatting import chat
from unwrite.commands.comparing import compare_sides
from unwrite.commands.measurements import show_geometry
from unwrite.commands.model_commands import dequantize_file, writers
from unwrite.commands.planning_command import show_plan
from unwrite.commands.plotting import write_plots_page
from unwrite.commands.project import audit, check, diff, summary
from unwrite.commands.proposals import markers
from unwrite.commands.releases import explain, publish, verify
from unwrite.commands.rendered_prompts import prompts
from unwrite.commands.running import output_checked
from unwrite.commands.starting import doctor, init


class _Commands(click.Group):
    """The commands; click itself writes their help and the version, and a full disk is one line there too."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, as click does."""
        with output_checked():
            return super().main(*args, **kwargs)


@click.group(cls=_Commands)
@click.version_option(package_name="unwrite")
def main() -> None:
    """Find the direction that carries one behaviour, remove it from the weights, and measure the effect.

    The pipeline itself is run by DVC: edit params.yaml, then run `dvc repro`.
    """


for _command in (
    init,
    doctor,
    check,
    show_plan,
    prompts,
    markers,
    summary,
    show_geometry,
    chat,
    writers,
    dequantize_file,
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
