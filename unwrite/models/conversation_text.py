"""What a chat template makes of one conversation: its text, up to where the next response begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.fixed_day import prints_day, with_day
from unwrite.models.template_errors import template_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLACEHOLDER = "unwrite"
"""A message for the template to render; no template contains it."""
_SYSTEM = "etirwnu"
"""A system prompt for it to render; no template contains that either."""
_TWO_DAYS = (date(2025, 1, 31), date(2034, 12, 6))
"""Days that no directive prints alike."""


class Rendering(NamedTuple):
    """How conversations are rendered.

    system_prompt: the system message before each user message; None for no system message.
    arguments: further arguments of the template, for example `{"enable_thinking": False}`.
    today: the date for templates that print today's.
    in_parts: whether the template takes a message as a list of parts, instead of as text.
    """

    system_prompt: str | None
    arguments: Mapping[str, object]
    today: date | None
    in_parts: bool = False


def rendered_text(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], rendering: Rendering) -> str:
    """Return the text of a conversation, up to where the next response begins.

    Args:
        tokenizer: a tokenizer with a chat template.
        turns: messages and responses in turn; a message is first and last.
        rendering: the system prompt, and what else the template is given.

    Raises:
        UnwriteError: the template rejects the conversation, or prints today's date and none is given.
    """
    template = tokenizer.get_chat_template()
    if not prints_day(template):
        return _apply(tokenizer, template, turns, rendering, {})
    days = _TWO_DAYS if rendering.today is None else [rendering.today]
    fixed = [with_day(template, day) for day in days]
    texts = {_apply(tokenizer, one, turns, rendering, further) for one, further in fixed}
    if len(texts) > 1:
        raise UnwriteError(
            "The chat template prints today's date, so the tokens would change every day. "
            "Set tokenize.today to the date that it should print."
        )
    return texts.pop()


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    turns: Sequence[str],
    rendering: Rendering,
    further: Mapping[str, object],
) -> str:
    import jinja2

    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if rendering.in_parts else text

    system = rendering.system_prompt
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": content(system)}]
    messages += [{"role": role, "content": content(text)} for role, text in zip(cycle(("user", "assistant")), turns)]
    arguments: dict[str, Any] = {**rendering.arguments, **further}
    try:
        rendered = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            **arguments,
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        why = ": ".join(filter(None, (template_line(error, template), reason_of(error))))
        raise UnwriteError(
            f"The chat template rejects the prompt {turns[-1][:60]!r} with tokenize.template_arguments "
            f"{dict(rendering.arguments)} ({why})."
        ) from error
    return cast("str", rendered)


def in_its_form(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> Rendering:
    """Return a rendering with messages in the form that the template takes: as text or, if it leaves that out, parts.

    A template that rejects a message of its own accord is left to whoever renders one.
    """
    try:
        text = rendered_text(tokenizer, [PLACEHOLDER], rendering)
    except UnwriteError:
        return rendering
    return rendering if holds(text, PLACEHOLDER) else rendering._replace(in_parts=True)


def takes_system_prompt(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> bool:
    """Return whether a chat template has a place for the system prompt; many leave it out or reject it."""
    for in_parts in (False, True):
        prompts = (rendering.system_prompt or "", _SYSTEM)  # a template may hold the words of the first itself
        given = (rendering._replace(system_prompt=prompt, in_parts=in_parts) for prompt in prompts)
        try:
            texts = [rendered_text(tokenizer, [PLACEHOLDER], one) for one in given]
        except UnwriteError:
            continue
        if all(map(holds, texts, prompts)):
            return True
    return False


def holds(rendered: str, text: str) -> bool:
    """Return whether a rendered conversation holds a text, white space aside."""
    # Templates strip messages, and some break their lines.
    return "".join(text.split()) in "".join(rendered.split())


def default_system_prompt(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> str | None:
    """Return the text that a given system prompt would replace, if there is any."""
    without = rendered_text(tokenizer, [PLACEHOLDER], rendering)
    system = "a system prompt"
    try:
        given = rendered_text(tokenizer, [PLACEHOLDER], rendering._replace(system_prompt=system))
    except UnwriteError:
        return None  # the template has no system prompt
    before, found, after = given.partition(system)
    if not found or not without.startswith(before) or not without.endswith(after):
        return None
    return without[len(before) : len(without) - len(after)].strip() or None
