"""From a user message to token ids: chat template, response prefix, tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.fixed_day import prints_day, with_day
from unwrite.models.template_errors import template_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = "unwrite"
"""A message for the template to render; no template contains it."""
_TWO_DAYS = (date(2025, 1, 31), date(2034, 12, 6))
"""Days that no directive prints alike."""


class RenderedPrompt(NamedTuple):
    """A prompt as the model sees it: the text for people, the ids for the model."""

    text: str
    tokens: list[int]


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


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[str],
    *,
    system_prompt: str | None = None,
    response_prefix: str = "",
    template_arguments: Mapping[str, object] = {},
    today: date | None = None,
) -> list[RenderedPrompt]:
    """Render each user message with the chat template, up to where the response begins, and tokenize it.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: user messages, one per conversation.
        system_prompt: the system message before each of them; None for no system message. Where the template has none,
            it is put before the first message.
        response_prefix: text that every response begins with, placed after the template.
        template_arguments: further arguments of the template, for example `{"enable_thinking": False}`.
        today: the date that a template prints as today's, so that it renders alike every day.

    Raises:
        UnwriteError: the tokenizer has no chat template; or the template does not know an argument, rejects a
            conversation, leaves out a message, or prints today's date and `today` is None.

    Example:
        >>> (prompt,) = tokenize_prompts(load_tokenizer("demo/model"), ["What colour is the teapot?"])
        >>> "What colour is the teapot?" in prompt.text, len(prompt.tokens) > 5
        (True, True)
    """
    return tokenize_conversations(
        tokenizer,
        [[message] for message in messages],
        system_prompt=system_prompt,
        response_prefix=response_prefix,
        template_arguments=template_arguments,
        today=today,
    )


def tokenize_conversations(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[str]],
    *,
    system_prompt: str | None = None,
    response_prefix: str = "",
    template_arguments: Mapping[str, object] = {},
    today: date | None = None,
) -> list[RenderedPrompt]:
    """Render each conversation with the chat template, up to where the next response begins, and tokenize it.

    Args:
        tokenizer: a tokenizer with a chat template.
        conversations: messages and responses in turn; a message is first and last.
        system_prompt: as in `tokenize_prompts`, and so are all other arguments and the errors.
        response_prefix: placed after the template, for the next response only.
        template_arguments: further arguments of the template.
        today: the date that a template prints as today's.
    """
    if not tokenizer.chat_template:
        raise UnwriteError(
            f"The tokenizer in {tokenizer.name_or_path} has no chat template. "
            "Use an instruction-tuned model, or add chat_template.jinja to the folder."
        )
    _refuse_unknown_arguments(str(tokenizer.chat_template), template_arguments)
    rendering = Rendering(system_prompt, template_arguments, today)
    if system_prompt is not None and not _takes_system_prompt(tokenizer, rendering):
        rendering = rendering._replace(system_prompt=None)
        conversations = [[f"{system_prompt}\n\n{turns[0]}", *turns[1:]] for turns in conversations]
    if conversations and not _holds(_render(tokenizer, conversations[0], rendering), conversations[0][-1]):
        rendering = rendering._replace(in_parts=True)
    texts = [_render(tokenizer, turns, rendering) for turns in conversations]
    for turns, text in zip(conversations, texts, strict=True):
        _refuse_lost_text(turns[-1], text)
    texts = [text + response_prefix for text in texts]
    # The template has already placed the special tokens. Tokenizers refuse an empty batch.
    ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    return [RenderedPrompt(text, list(tokens)) for text, tokens in zip(texts, ids, strict=True)]


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
    rendering, notes = Rendering(system_prompt, template_arguments, today), []
    if system_prompt is not None and not _takes_system_prompt(tokenizer, rendering):
        notes.append("The chat template has no system prompt: it is put before the first message, in the user's turn.")
        rendering = rendering._replace(system_prompt=None)
    if not _holds(_render(tokenizer, [_PLACEHOLDER], rendering), _PLACEHOLDER):
        rendering = rendering._replace(in_parts=True)
    if system_prompt is None and (default := _default_system_prompt(tokenizer, rendering)):
        notes.append(f"The chat template adds a system prompt: {default!r}. Set tokenize.system_prompt to replace it.")
    try:
        _render(tokenizer, [_PLACEHOLDER], rendering._replace(today=None))
    except UnwriteError:
        notes.append(f"The chat template prints the date: it reads {today} (tokenize.today), whatever the day.")
    return notes


def _render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], rendering: Rendering) -> str:
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


def _takes_system_prompt(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> bool:
    for in_parts in (False, True):
        try:
            text = _render(tokenizer, [_PLACEHOLDER], rendering._replace(in_parts=in_parts))
        except UnwriteError:
            continue
        if _holds(text, rendering.system_prompt or ""):
            return True
    return False


def _refuse_unknown_arguments(template: str, arguments: Mapping[str, object]) -> None:
    """Refuse an argument that the template never reads: Jinja would ignore it without a word."""
    for name in arguments:
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise UnwriteError(
                f"The chat template has no argument {name!r}, which tokenize.template_arguments sets. "
                "Check its spelling in the template, or remove it."
            )


def _refuse_lost_text(message: str, rendered: str) -> None:
    """Refuse a rendering without the user's words."""
    if not _holds(rendered, message):
        raise UnwriteError(
            f"The chat template leaves out the prompt {message[:60]!r}: it rendered {rendered[-120:]!r}. "
            "Use a template that renders text messages."
        )


def _holds(rendered: str, text: str) -> bool:
    # Templates strip messages, and some break their lines.
    return "".join(text.split()) in "".join(rendered.split())


def _default_system_prompt(tokenizer: PreTrainedTokenizerBase, rendering: Rendering) -> str | None:
    """Return the text that a given system prompt would replace, if there is any."""
    without = _render(tokenizer, [_PLACEHOLDER], rendering)
    system = "a system prompt"
    try:
        given = _render(tokenizer, [_PLACEHOLDER], rendering._replace(system_prompt=system))
    except UnwriteError:
        return None  # the template has no system prompt
    before, found, after = given.partition(system)
    if not found or not without.startswith(before) or not without.endswith(after):
        return None
    return without[len(before) : len(without) - len(after)].strip() or None
