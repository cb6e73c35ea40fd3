"""The chat template that a project renders prompts with: the model's own, plain text, or a file's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.loading import load_tokenizer
from unwrite.models.raw_template import RAW_TEMPLATE
from unwrite.schema.artifacts import TemplateOrigin
from unwrite.schema.params import RAW
from unwrite.schema.paths import TEMPLATE, TOKENS
from unwrite.schema.text import read_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_with_template(folder: Path, template: str | None) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, with the chat template that params.yaml names.

    Args:
        folder: the model's folder.
        template: as in `tokenize.template`.

    Raises:
        UnwriteError: the tokenizer or the template cannot be loaded, or a model without one is to use its own.
    """
    tokenizer = load_tokenizer(folder)
    if template is not None:
        tokenizer.chat_template = named_template(template)
    return tokenizer


def load_as_tokenized(folder: Path, template: str | None = None) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, with the chat template that the stored prompts were rendered with.

    Args:
        folder: the model's folder.
        template: result of `stored_template`; None to read it.

    Raises:
        UnwriteError: the tokenizer cannot be loaded, or the prompts have not been tokenized.
    """
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = stored_template() if template is None else template
    return tokenizer


def stored_template() -> str:
    """Return the text of the chat template that the stored prompts were rendered with.

    Raises:
        UnwriteError: the prompts have not been tokenized.
    """
    return read_text(TOKENS / TEMPLATE, "run `dvc repro tokenize_prompts` first")


def named_template(template: str) -> str:
    """Return the text of a chat template.

    Args:
        template: `raw`, or the path of a file.

    Raises:
        UnwriteError: the file cannot be read, or is empty.
    """
    if template == RAW:
        return RAW_TEMPLATE
    text = read_text(Path(template), f"tokenize.template must be null, {RAW} or the path of a chat template")
    if not text.strip():
        raise UnwriteError(f"{template} is empty: tokenize.template must name a chat template, or {RAW} for none.")
    return text


def text_of_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the chat template that a tokenizer renders with.

    Raises:
        UnwriteError: it has none, or several of which none is the default.
    """
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise UnwriteError(
            f"The tokenizer in {tokenizer.name_or_path} has no chat template to use ({reason_of(error)}). Set "
            f"tokenize.template to {RAW} if it is a base model, or to the path of a template."
        ) from None


def origin_of_template(template: str | None, text: str) -> TemplateOrigin:
    """Return the record of a template.

    Args:
        template: as in `tokenize.template`.
        text: its text.
    """
    return TemplateOrigin(source=template, sha256=hashlib.sha256(text.encode()).hexdigest())
