"""From a user message to token ids: chat template, response prefix, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from unwrite.errors import UnwriteError

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
    system = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    try:
        rendered = tokenizer.apply_chat_template(
            [*system, {"role": "user", "content": message}],
            tokenize=False,
            add_generation_prompt=True,
            **cast("dict[str, Any]", template_arguments),
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise UnwriteError(f"The chat template refuses the prompt {message[:60]!r}: {error}") from error
    text = cast("str", rendered) + response_prefix
    # The template has placed the special tokens already.
    return RenderedPrompt(text, list(tokenizer(text, add_special_tokens=False)["input_ids"]))
