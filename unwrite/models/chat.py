"""From a user message to token ids: chat template, response prefix, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unwrite.errors import UnwriteError, reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class RenderedPrompt(NamedTuple):
    """A prompt as the model sees it: the text for people, the ids for the model."""

    text: str
    tokens: list[int]


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    message: str,
    *,
    system_prompt: str | None,
    response_prefix: str,
    template_arguments: Mapping[str, object],
) -> RenderedPrompt:
    """Renders one user message up to where the response begins.

    Raises:
        UnwriteError: The tokenizer has no chat template, or the template refuses the conversation.
    """
    import jinja2

    if not tokenizer.chat_template:
        raise UnwriteError(
            f"The tokenizer in {tokenizer.name_or_path} has no chat template: "
            "use an instruction-tuned model, or add chat_template.jinja to the folder."
        )
    if tokenizer.chat_template and "strftime_now" in str(tokenizer.chat_template):
        _refuse_the_date(tokenizer, template_arguments)
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
            f"The chat template refuses the prompt {message[:60]!r} with tokenize.template_arguments "
            f"{dict(template_arguments)} ({reason_of(error)})."
        ) from error
    text = cast("str", rendered) + response_prefix
    # The template has placed the special tokens already.
    return RenderedPrompt(text, list(tokenizer(text, add_special_tokens=False)["input_ids"]))


def _refuse_the_date(tokenizer: PreTrainedTokenizerBase, template_arguments: Mapping[str, object]) -> None:
    """A template that prints today's date gives other tokens tomorrow: the same inputs must give the same result."""
    # A text in the clock's place can't be called: rendering fails just where the template would read the clock.
    arguments: dict[str, Any] = {**template_arguments, "strftime_now": "no clock"}
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False, **arguments)
    except TypeError as error:
        if "not callable" not in str(error):
            return
        raise UnwriteError(
            "The chat template prints today's date, so the tokens would change with the day: fix it in "
            'tokenize.template_arguments, for Llama 3 as {date_string: "26 Jul 2024"}.'
        ) from None
