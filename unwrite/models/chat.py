"""From a user message to token ids: chat template, response prefix, tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.models.conversation_text import Rendering, holds, in_its_form, rendered_text, takes_system_prompt
from unwrite.models.raw_template import is_raw, opening_tokens
from unwrite.models.template_arguments import refuse_unknown_arguments

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

    The template places the special tokens, as in transformers; before plain text (`raw_template`), the tokenizer does.

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
            f"The tokenizer in {tokenizer.name_or_path} has no chat template. Set tokenize.template to raw if it is a "
            "base model, which continues plain text, or to the path of a template."
        )
    refuse_unknown_arguments(str(tokenizer.get_chat_template()), template_arguments)
    if is_raw(tokenizer):
        _refuse_turns(conversations)
    rendering = Rendering(system_prompt, template_arguments, today)
    if system_prompt is not None and not takes_system_prompt(tokenizer, rendering):
        rendering = rendering._replace(system_prompt=None)
        conversations = [[f"{system_prompt}\n\n{turns[0]}", *turns[1:]] for turns in conversations]
    rendering = in_its_form(tokenizer, rendering)
    texts = [rendered_text(tokenizer, turns, rendering) for turns in conversations]
    for turns, text in zip(conversations, texts, strict=True):
        _refuse_lost_text(turns, text)
    return _tokenized(tokenizer, [text + response_prefix for text in texts])


def _tokenized(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[RenderedPrompt]:
    if not texts:  # tokenizers refuse an empty batch
        return []
    opening = opening_tokens(tokenizer, texts[0]) if is_raw(tokenizer) else []
    begun = str(tokenizer.decode(opening)) if opening else ""
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    prompts = [RenderedPrompt(begun + text, opening + list(own)) for text, own in zip(texts, ids, strict=True)]
    for prompt in prompts:
        _refuse_two_beginnings(tokenizer, prompt)
    return prompts


def _refuse_two_beginnings(tokenizer: PreTrainedTokenizerBase, prompt: RenderedPrompt) -> None:
    bos = tokenizer.bos_token_id
    if bos is not None and prompt.tokens[:2] == [bos, bos]:
        raise UnwriteError(
            f"A prompt must begin with {tokenizer.bos_token} once, got it twice: {prompt.text[:60]!r}. "
            "Remove it from tokenize.template, the system prompt or the prompts."
        )


def _refuse_turns(conversations: Sequence[Sequence[str]]) -> None:
    """Refuse a conversation where plain text is rendered: nothing would tell who speaks."""
    for turns in conversations:
        if len(turns) > 1:
            raise UnwriteError(
                f"With tokenize.template raw, a prompt must be one text, got {len(turns)} messages that end in "
                f"{turns[-1][:60]!r}. Write the conversation as one text, or name a template."
            )


def _refuse_lost_text(turns: Sequence[str], rendered: str) -> None:
    """Refuse a rendering without the words of a message, or of a response as far as it is no closed thought."""
    for number, turn in enumerate(turns):
        kind, text = ("response", turn.rpartition("</think>")[2]) if number % 2 else ("prompt", turn)
        if not holds(rendered, text):
            raise UnwriteError(
                f"The chat template leaves out the {kind} {text.strip()[:60]!r}: it rendered {rendered[-120:]!r}. "
                "Use a template that renders text messages."
            )
