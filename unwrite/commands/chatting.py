"""The command that lets people talk to base and edited model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unwrite.commands.releases import base_folder
from unwrite.commands.running import expected_errors
from unwrite.terms import ModelName

if TYPE_CHECKING:
    from unwrite.chat.opening import Opening
    from unwrite.chat.speaker import NewChoose


@click.command()
@click.option("--base", "only", flag_value="base", help="Talk to the base model alone.")
@click.option("--edited", "only", flag_value="edited", help="Talk to the edited model alone.")
@click.option("--release", metavar="RELEASE", help="A release (folder or hub id) instead of this project's model.")
@click.option(
    "--against", metavar="BASE", help="With --release: its base (folder, GGUF file or hub id), side by side with it."
)
@click.option("--system", metavar="TEXT", help="Another system prompt.")
@click.option(
    "--set",
    "prompt_set",
    default="target",
    show_default=True,
    metavar="NAME",
    help="The prompt set whose system prompt is sent: target, baseline, or one of evaluate.sets.",
)
@click.option("--no-history", is_flag=True, help="Each message on its own, as the pipeline measures them.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Longest reply.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, help="Sample at it; by default greedy.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the sampling.")
@expected_errors
def chat(
    *,
    only: ModelName | None,
    release: str | None,
    against: str | None,
    system: str | None,
    prompt_set: str,
    no_history: bool,
    max_tokens: int,
    temperature: float,
    seed: int,
) -> None:
    """Talk to base and edited model side by side, prompted as the pipeline prompted them.

    By default the models are those of the project in this folder. Each model has its own history. Two columns need a
    terminal of 100 columns; without a terminal, every line of standard input is a message. /help lists the commands.
    """
    from unwrite.chat.loop import run_chat, typed_lines
    from unwrite.chat.opening import load_speakers
    from unwrite.chat.prompting import notes_on_template
    from unwrite.chat.screen import shown_text
    from unwrite.models.raw_template import is_raw

    opening = _opening(only, release, against, prompt_set)
    prompting = opening.prompting if system is None else opening.prompting._replace(system_prompt=system or None)
    speakers = load_speakers(opening, max_tokens=max_tokens, new_choose=_new_choose(temperature, seed))
    for name, folder in opening.folders.items():
        click.echo(f"{f'{name}:':<8}{folder}", err=True)
    if prompting.system_prompt is not None:
        click.echo(f"System prompt: {shown_text(prompting.system_prompt)}", err=True)
    for note in notes_on_template(speakers[0].tokenizer, prompting):
        click.echo(shown_text(note), err=True)
    click.echo("/help lists the commands; Ctrl-D ends.", err=True)
    history = not (no_history or is_raw(speakers[0].tokenizer))
    if not (history or no_history):
        click.echo("Each message stands on its own: plain text does not tell who speaks.", err=True)
    run_chat(speakers, prompting, typed_lines(), history=history)


def _opening(only: ModelName | None, release: str | None, against: str | None, prompt_set: str) -> Opening:
    from unwrite.chat.opening import project_opening, release_opening
    from unwrite.models.gguf_header import is_gguf
    from unwrite.models.source import resolve_source

    names: list[ModelName] = [only] if only else ["base", "edited"]
    if release is None:
        if against is not None:
            raise click.UsageError("--against names the base of a --release: name that too.")
        return project_opening(names, prompt_set)
    if against is None:
        if only == "base":
            raise click.UsageError("--base needs the release's base: name it with --against.")
        return release_opening(release, None, ["edited"], prompt_set)
    base = Path(against)
    if is_gguf(base) or not base.exists():
        base = base_folder(resolve_source(release, None, weights=False).folder, against)
    return release_opening(release, base, names, prompt_set)


def _new_choose(temperature: float, seed: int) -> NewChoose:
    from unwrite.chat.speaker import choose_most_likely
    from unwrite.models.token_stream import sampled

    return (lambda: sampled(temperature, seed)) if temperature else choose_most_likely
