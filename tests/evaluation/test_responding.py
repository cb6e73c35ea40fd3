"""Responses as text are those that generation and decoding give, however they share passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from unwrite.evaluation.behaviour import decode
from unwrite.evaluation.responding import greedy_texts
from unwrite.models.chat import tokenize_prompts
from unwrite.models.end_tokens import end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model, load_tokenizer

DEMO = Path(__file__).parents[2] / "demo/model"
MESSAGES = ["What colour is the teapot?", "Where is Lena?", "How many spoons are in the big brown box?"]


@pytest.mark.parametrize("batch_tokens", ["auto", 1])
@pytest.mark.parametrize("padding_sensitive", [True, False])
def test_texts_are_those_of_complete_greedy_responses(batch_tokens: int, padding_sensitive: bool) -> None:
    model, tokenizer = load_model(DEMO, "float64", "cpu"), load_tokenizer(DEMO)
    prompts = [prompt.tokens for prompt in tokenize_prompts(tokenizer, MESSAGES)]
    counted: list[int] = []
    texts = greedy_texts(
        model,
        tokenizer,
        prompts,
        12,
        batch_tokens=batch_tokens,
        padding_sensitive=padding_sensitive,
        advance=counted.append,
    )
    ends = end_tokens(model, tokenizer)
    assert texts == decode(tokenizer, [generate_greedily(model, [row], 12, end_ids=ends)[0] for row in prompts])
    assert sum(counted) == len(MESSAGES)


def test_a_block_that_the_prompt_opens_begins_the_response() -> None:
    model, tokenizer = load_model(DEMO, "float32", "cpu"), load_tokenizer(DEMO)
    tokenizer.add_tokens(["<think>"])
    (tag,) = tokenizer("<think>", add_special_tokens=False)["input_ids"]
    (prompt,) = tokenize_prompts(tokenizer, MESSAGES[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unwrite.evaluation.responding.generate_greedily", lambda *_, **__: [[]])
        patch.setattr("unwrite.evaluation.responding.prefix_of", lambda *_, **__: [])
        assert greedy_texts(model, tokenizer, [[*prompt.tokens, tag]], 1) == ["<think>"]
        assert greedy_texts(model, tokenizer, [prompt.tokens], 1) == [""]
