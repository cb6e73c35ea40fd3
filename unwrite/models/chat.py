"""From a user message to token ids: chat template, response prefix, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unwrite.errors import UnwriteError, reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RenderedPrompt(NamedTuple):
    """A prompt as the model sees it: the text for people, the ids for the model."""

    text: str
    tokens: list[int]


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[str],
    *,
    system_prompt: str | None = None,
    response_prefix: str = "",
    template_arguments: Mapping[str, object] = {},
) -> list[RenderedPrompt]:
    """Render each user message with the chat template, up to where the response begins, and tokenize it.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: user messages, one per conversation.
        system_prompt: the system message before each of them; None for no system message.
        response_prefix: text that every response begins with, placed after the template.
        template_arguments: further arguments of the template, for example `{"enable_thinking": False}`.

    Raises:
        UnwriteError: the tokenizer has no chat template, the template prints the current date, or it rejects a
            conversation.

    Example:
        >>> (prompt,) = tokenize_prompts(load_tokenizer("demo/model"), ["What colour is the teapot?"])
        >>> "What colour is the teapot?" in prompt.text, len(prompt.tokens) > 5
        (True, True)
    """
    if not tokenizer.chat_template:
        raise UnwriteError(
            f"The tokenizer in {tokenizer.name_or_path} has no chat template. "
            "Use an instruction-tuned model, or add chat_template.jinja to the folder."
        )
    if "strftime_now" in str(tokenizer.chat_template):
        _refuse_current_date(tokenizer, template_arguments)
    texts = [_render(tokenizer, message, system_prompt, template_arguments) + response_prefix for message in messages]
    # The template has already placed the special tokens.
    return [RenderedPrompt(text, list(tokenizer(text, add_special_tokens=False)["input_ids"])) for text in texts]


def _render(
    tokenizer: PreTrainedTokenizerBase,
    message: str,
    system_prompt: str | None,
    template_arguments: Mapping[str, object],
) -> str:
    import jinja2

    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    try:
        rendered = tokenizer.apply_chat_template(
            [*system, {"role": "user", "content": message}],
            tokenize=False,
            add_generation_prompt=True,
            **cast("dict[str, Any]", template_arguments),
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise UnwriteError(
            f"The chat template rejects the prompt {message[:60]!r} with tokenize.template_arguments "
            f"{dict(template_arguments)} ({reason_of(error)})."
        ) from error
    return cast("str", rendered)


def _refuse_current_date(tokenizer: PreTrainedTokenizerBase, template_arguments: Mapping[str, object]) -> None:
    """Refuse a template that prints the current date: the same inputs must give the same tokens every day."""
    # A string in place of the clock cannot be called, so rendering fails exactly where the template reads the clock.
    arguments: dict[str, Any] = {**template_arguments, "strftime_now": "no clock"}
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False, **arguments)
    except TypeError as error:
        if "not callable" not in str(error):
            return
        raise UnwriteError(
            "The chat template prints today's date, so the tokens would change every day. Set the date in "
            'tokenize.template_arguments, for Llama 3 to {date_string: "26 Jul 2024"}.'
        ) from None
