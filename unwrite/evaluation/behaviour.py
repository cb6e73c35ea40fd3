"""From a model's responses to verdicts: which of them show the behaviour, and how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING

from unwrite.core.markers import has_settled_marker, shows_behaviour
from unwrite.core.thinking import kept_tokens, opened_tag
from unwrite.models.batches import Advance, Budget, do_nothing
from unwrite.models.end_tokens import end_tokens
from unwrite.models.generation import BeforePass, generate_decided
from unwrite.models.shared_work import NOTHING_SHARED, SharedWork

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_END = 32
"""How many tokens of a prompt can hold the tag that opens its response."""

GivenUp = Callable[[int, int, Set[int]], bool]
"""Whether a response is given up, from its row, its number of tokens, and the rows that show the behaviour so far."""


def never(_row: int, _tokens: int, _shown: Set[int]) -> bool:
    """Give up no response: the default of `behaviour_verdicts`."""
    return False


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
    shared: SharedWork = NOTHING_SHARED,
    given_up: GivenUp = never,
    before_pass: BeforePass = do_nothing,
    advance: Advance = do_nothing,
    budget: Budget | None = None,
) -> list[bool | None]:
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
        shared: work that passes share.
        given_up: called with a row, the number of its response tokens so far (0 before the first pass) and the rows
            that show the behaviour so far; True leaves the verdict of the row open.
        before_pass: called before each forward pass with the numbers of its rows, in order.
        advance: called with the number of prompts that have just been decided.
        budget: tokens that a forward pass may hold.

    Returns:
        The verdicts; None where a response was given up.

    Raises:
        UnwriteError: as in `generate_decided`.
        ValueError: as in `shows_behaviour`.
    """
    is_certain = early_verdict(tokenizer, markers)
    opened = opened_tags(tokenizer, prompts)
    shown, open_rows = set[int](), set[int]()

    def decided(row: int, response: Sequence[int]) -> bool:
        if len(response) == 1:  # also when a batch starts over
            shown.discard(row)
            open_rows.discard(row)
        if is_certain(response, opened[row]):
            shown.add(row)
            return True
        if given_up(row, len(response), shown):
            open_rows.add(row)
        return row in open_rows

    verdicts: list[bool | None] = [None] * len(prompts)
    for batch in batches:
        rows = [row for row in batch if not given_up(row, 0, shown)]
        responses = generate_decided(
            model,
            prompts,
            [rows] if rows else [],
            max_tokens,
            decided,
            end_ids=end_tokens(model, tokenizer),
            shared=shared,
            before_pass=before_pass,
            advance=advance,
            budget=budget,
        )
        for row, text in zip(rows, decode(tokenizer, [responses[row] for row in rows]), strict=True):
            verdicts[row] = None if row in open_rows else shows_behaviour(opened[row] + text, markers)
            if verdicts[row]:
                shown.add(row)  # the last tokens settled it
        advance(len(batch) - len(rows))
    return verdicts


def tokens_to_settle(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    markers: Sequence[str],
) -> list[int]:
    """Return after how many tokens each response that shows the behaviour did so for certain, in ascending order.

    Args:
        tokenizer: the model's tokenizer.
        prompts: token ids.
        responses: token ids of the response to each prompt.
        markers: phrases, at least one.
    """
    is_certain = early_verdict(tokenizer, markers)
    settled = []
    for tag, tokens in zip(opened_tags(tokenizer, prompts), responses, strict=True):
        if shows_behaviour(tag + decode(tokenizer, [tokens])[0], markers):
            ends = range(1, len(tokens))
            settled.append(next((end for end in ends if is_certain(tokens[:end], tag)), len(tokens)))
    return sorted(settled)


def early_verdict(tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]) -> Callable[[Sequence[int], str], bool]:
    """Return a function that says whether a response contains a marker that no later token can remove.

    It takes the tokens so far, and the tag of the chain-of-thought block that the prompt leaves open, or "".
    """
    unsettled, to_text = unsettled_tokens(tokenizer), decoder(tokenizer)

    def is_certain(tokens: Sequence[int], opened: str) -> bool:
        return tokens[-1] not in unsettled and has_settled_marker(opened + to_text(tokens), markers)

    return is_certain


def opened_tags(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[int]]) -> list[str]:
    """Return for each prompt the tag of the chain-of-thought block that it leaves open for the response, or "".

    Args:
        tokenizer: the model's tokenizer.
        prompts: token ids.
    """
    return [opened_tag(str(tokenizer.decode(list(prompt[-_END:])))) for prompt in prompts]


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Sequence[int]]) -> list[str]:
    """Return responses as text, without special tokens other than the tags of chain-of-thought blocks.

    Spaces before punctuation stay: removing them would rewrite what the model said.

    Example:
        >>> tokenizer = load_tokenizer("demo/model")
        >>> decode(tokenizer, [tokenizer("It is blue.")["input_ids"]])
        ['It is blue.']
    """
    to_text = decoder(tokenizer)
    return [to_text(tokens) for tokens in responses]


def decoder(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], str]:
    """Return `decode` for one response; the special tokens are looked up once."""
    special = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    kept_texts = kept_tokens(special.values())
    left_out = {number for number, text in special.items() if text not in kept_texts}
    has_tags = left_out != special.keys()  # some tags are special tokens, which the tokenizer would leave out too

    def to_text(tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if not has_tags or token not in left_out]
        return str(tokenizer.decode(kept, skip_special_tokens=not has_tags, clean_up_tokenization_spaces=False)).strip()

    return to_text


def unsettled_tokens(tokenizer: PreTrainedTokenizerBase) -> set[int]:
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
