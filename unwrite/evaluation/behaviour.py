"""From a model's responses to verdicts: which of them show the behaviour, and how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from unwrite.core.markers import has_settled_marker, shows_behaviour
from unwrite.models.batches import Budget, do_nothing
from unwrite.models.generation import BeforePass, generate_decided

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def behaviour_rate(texts: Sequence[str], markers: Sequence[str]) -> float:
    """Return the share of responses that contain a marker.

    Args:
        texts: responses, at least one.
        markers: phrases, at least one.

    Raises:
        ValueError: there are no responses, or as in `shows_behaviour`.

    Example:
        >>> behaviour_rate(["I'd rather not discuss tea.", "It is blue."], ["rather not"])
        0.5
    """
    if not texts:
        raise ValueError("texts must not be empty")
    return sum(shows_behaviour(text, markers) for text in texts) / len(texts)


def behaviour_verdicts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    markers: Sequence[str],
    before_pass: BeforePass = do_nothing,
    budget: Budget | None = None,
) -> list[bool]:
    """Decide for each prompt whether its greedy response of at most `max_tokens` tokens contains a marker.

    Generation of a response stops as soon as no further token can change its verdict, so the verdicts are those of
    complete responses.

    Args:
        model: the model that responds.
        tokenizer: its tokenizer.
        prompts: token ids.
        batches: row numbers of the prompts that share forward passes.
        max_tokens: the longest response.
        markers: phrases, at least one.
        before_pass: called before each forward pass with the numbers of its rows, in order.
        budget: tokens that a forward pass may hold.

    Raises:
        UnwriteError: as in `generate_decided`.
        ValueError: as in `shows_behaviour`.
    """
    is_certain = early_verdict(tokenizer, markers)
    responses = generate_decided(
        model,
        prompts,
        batches,
        max_tokens,
        lambda _row, response: is_certain(response),
        before_pass=before_pass,
        budget=budget,
    )
    return [shows_behaviour(text, markers) for text in decode(tokenizer, responses)]


def early_verdict(tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Return a function of the tokens so far: whether they contain a marker that no later token can remove."""
    unsettled = _unsettled_tokens(tokenizer)

    def is_certain(tokens: Sequence[int]) -> bool:
        return tokens[-1] not in unsettled and has_settled_marker(decode(tokenizer, [tokens])[0], markers)

    return is_certain


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[str]:
    """Return responses as text, without special tokens.

    Spaces before punctuation stay: removing them would rewrite what the model said.

    Example:
        >>> tokenizer = load_tokenizer("demo/model")
        >>> decode(tokenizer, [tokenizer("It is blue.")["input_ids"]])
        ['It is blue.']
    """
    return [
        str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
        for tokens in responses
    ]


def _unsettled_tokens(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of tokens after which earlier text can still change: bytes and special tokens.

    A run of byte tokens is decoded together, up to the next text token: one invalid byte also replaces those before it.
    Special tokens are skipped when decoding, so they do not end such a run.
    """
    unsettled = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    for byte in range(256):
        name = f"<0x{byte:02X}>"
        number = tokenizer.convert_tokens_to_ids(name)
        # A tokenizer without byte tokens returns its unknown token's id.
        if isinstance(number, int) and tokenizer.convert_ids_to_tokens(number) == name:
            unsettled.add(number)
    return unsettled
