"""The tokens that end a response, from everything that knows one: configurations, tokenizer and chat template."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_ANSWER = "unwrite"
"""A response for the template to render; no template contains it."""


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> list[int]:
    """Return the ids of the tokens that end a response, in ascending order.

    Any of them does: a checkpoint's files often name different ones, and a response that runs past its end is judged
    for what its model never meant to say.

    Args:
        model: a language model; its generation config, config and text config count.
        tokenizer: its tokenizer; its own end token, and the special token with which its chat template closes a turn.

    Example:
        >>> end_tokens(load_model("demo/model"), load_tokenizer("demo/model"))
        [1]
    """
    return sorted({token for ids in _sources(model, tokenizer).values() for token in ids})


def log_end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Say in one line which end tokens were found where, if the places disagree.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
    """
    sources = {name: ids for name, ids in _sources(model, tokenizer).items() if ids}
    if len({frozenset(ids) for ids in sources.values()}) > 1:
        found = "; ".join(
            f"{name}: {', '.join(repr(tokenizer.convert_ids_to_tokens(token)) for token in sorted(ids))}"
            for name, ids in sources.items()
        )
        logger.warning(f"Responses end at any of these tokens, since the model's files differ ({found}).")


def _sources(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, set[int]]:
    configs = {
        "generation_config.json": model.generation_config,
        "config.json": model.config,
        "its text part": model.config.get_text_config(),
    }
    sources = {name: _ids(config) for name, config in configs.items()}
    if tokenizer is not None:
        sources["tokenizer"] = _ids(tokenizer)
        sources["chat template"] = _turn_end(tokenizer)
    return sources


def _ids(owner: object) -> set[int]:
    ids = getattr(owner, "eos_token_id", None)
    listed = ids if isinstance(ids, (list, tuple)) else [ids]
    return {token for token in listed if token is not None}


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the special token that the chat template puts behind the last response, if it puts one there."""
    import jinja2

    if not tokenizer.chat_template:
        return set()
    conversation = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = str(tokenizer.apply_chat_template(conversation, tokenize=False))
    except (jinja2.TemplateError, TypeError, ValueError):
        return set()  # a template without responses: what it rejects, tokenizing the prompts reports
    _, rendered, behind = text.rpartition(_ANSWER)
    tokens = tokenizer(behind.lstrip(), add_special_tokens=False)["input_ids"] if rendered else []
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return {token for token in tokens[:1] if token in special - {tokenizer.unk_token_id, tokenizer.bos_token_id}}
