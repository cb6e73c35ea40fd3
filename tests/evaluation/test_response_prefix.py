"""The prefix that is found is what the model's own responses begin with, a chain of thought closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.small_project import ROOT
from unwrite.evaluation import response_prefix
from unwrite.evaluation.response_prefix import find_response_prefix
from unwrite.models.chat import RenderedPrompt, tokenize_prompts
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model, load_tokenizer

PAIRS = [("<think>", "<think>\n\n</think>\n\n")]
MODEL = ROOT / "demo/model"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(MODEL, "float32", "cpu")


def rendered(tokenizer: Any, *messages: str) -> list[RenderedPrompt]:
    return tokenize_prompts(tokenizer, messages)


def test_one_response_is_its_own_prefix_and_different_ones_have_none(model: Any, tokenizer: Any) -> None:
    teapot, sky = rendered(tokenizer, "What colour is the teapot?", "What is the colour of the sky?")
    (tokens,) = generate_greedily(model, [teapot.tokens], 16)
    found = find_response_prefix(model, tokenizer, [teapot, teapot], PAIRS)
    assert found == tokenizer.decode(tokens)
    assert len(found) > 10
    assert find_response_prefix(model, tokenizer, [teapot, sky], PAIRS) != found


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        (["<think>\nShe asks", "<think>\nHe asks"], "<think>\n\n</think>\n\n"),
        (["Well, yes", "Well, no"], "Well, "),
        (["yes", "no"], ""),
    ],
)
def test_a_chain_of_thought_is_closed_and_said(
    responses: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Letters:
        """A tokenizer whose tokens are characters."""

        def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
            assert not skip_special_tokens
            return "".join(map(chr, tokens))

    monkeypatch.setattr(response_prefix, "measuring_limits", lambda *_: None)
    monkeypatch.setattr(response_prefix, "start_responding", lambda *_, **__: None)
    monkeypatch.setattr(response_prefix, "greedy_responses", lambda *_: [list(map(ord, text)) for text in responses])
    prompts = [RenderedPrompt("<user>", [1])] * 2
    nothing: Any = None
    with caplog.at_level("INFO"):
        letters: Any = Letters()
        assert find_response_prefix(nothing, letters, prompts, PAIRS) == expected
    (said,) = caplog.messages
    assert (repr(expected) in said) if expected else ("no common beginning" in said)
