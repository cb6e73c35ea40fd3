"""What a chat template adds to prompts on its own, in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError
from unwrite.models.conversation_text import (
    PLACEHOLDER,
    Rendering,
    default_system_prompt,
    in_its_form,
    rendered_text,
    takes_system_prompt,
)
from unwrite.models.raw_template import is_raw, opening_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def template_notes(
    tokenizer: PreTrainedTokenizerBase,
    *,
    system_prompt: str | None,
    template_arguments: Mapping[str, object],
    today: date | None,
) -> list[str]:
    """Return what the chat template adds on its own, a line each: a system prompt, today's date.

    Args:
        tokenizer: a tokenizer whose template renders prompts with these arguments.
        system_prompt: as in `tokenize_prompts`.
        template_arguments: as in `tokenize_prompts`.
        today: as in `tokenize_prompts`.
    """
    if is_raw(tokenizer):
        opening = tokenizer.convert_ids_to_tokens(opening_tokens(tokenizer, PLACEHOLDER))
        begun = f", each after {' '.join(opening)}" if opening else ""
        return [f"Prompts are plain text without a chat template (tokenize.template: raw){begun}."]
    rendering, notes = Rendering(system_prompt, template_arguments, today), []
    if system_prompt is not None and not takes_system_prompt(tokenizer, rendering):
        notes.append("The chat template has no system prompt: it is put before the first message, in the user's turn.")
        rendering = rendering._replace(system_prompt=None)
    rendering = in_its_form(tokenizer, rendering)
    if system_prompt is None and (default := default_system_prompt(tokenizer, rendering)):
        notes.append(f"The chat template adds a system prompt: {default!r}. Set tokenize.system_prompt to replace it.")
    try:
        rendered_text(tokenizer, [PLACEHOLDER], rendering._replace(today=None))
    except UnwriteError:
        notes.append(f"The chat template prints the date: it reads {today} (tokenize.today), whatever the day.")
    if (missing := _missing_beginning(tokenizer, rendering)) is not None:
        notes.append(f"The chat template does not write {missing}, which begins plain text: prompts have none.")
    return notes


def _missing_beginning(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> str | None:
    """Return the token that the tokenizer puts before plain text, if the template leaves it out."""
    text = rendered_text(tokenizer, [PLACEHOLDER], rendering)
    bos = tokenizer.bos_token_id
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if bos is None or bos in tokens or bos not in opening_tokens(tokenizer, PLACEHOLDER):
        return None
    return str(tokenizer.bos_token)
