"""Streaming yields what generating yields, ends where it ends, and samples as softmax says."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from tests.support.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.generation import generate_greedily
from unwrite.models.token_stream import most_likely, sampled, stream_tokens

PROMPT = [5, 17, 3, 8]


def test_the_stream_is_the_greedy_response() -> None:
    model = tiny_model(tiny_config("llama"))
    streamed = list(stream_tokens(model, PROMPT, 12, end_ids=[]))
    assert streamed == generate_greedily(model, [PROMPT], 12, end_ids=[])[0]
    assert len(streamed) == 12


def test_an_end_token_closes_the_response_and_is_not_part_of_it() -> None:
    model = tiny_model(tiny_config("llama"))
    whole = list(stream_tokens(model, PROMPT, 12, end_ids=[]))
    end = next(token for token in whole if token != whole[0])
    assert list(stream_tokens(model, PROMPT, 12, end_ids=[end])) == whole[: whole.index(end)]
    assert list(stream_tokens(model, PROMPT, 12, end_ids=[whole[0]])) == []


def test_tokens_come_one_at_a_time() -> None:
    chosen: list[int] = []

    def choose(logits: torch.Tensor) -> int:
        chosen.append(most_likely(logits))
        return chosen[-1]

    stream = stream_tokens(tiny_model(tiny_config("llama")), PROMPT, 12, end_ids=[], choose=choose)
    assert [next(stream), next(stream)] == chosen
    assert len(chosen) == 2


def test_samples_have_the_frequencies_of_softmax_at_the_temperature() -> None:
    logits, temperature, n = torch.tensor([0.0, 1.0, 2.0, -1.0]), 0.7, 4000
    choose = sampled(temperature, seed=1)
    counts = torch.bincount(torch.tensor([choose(logits) for _ in range(n)]), minlength=4)
    expected = torch.softmax(logits.double() / temperature, 0) * n
    assert chisquare(counts, expected).pvalue > 1e-3
    assert chisquare(counts, torch.softmax(logits.double(), 0) * n).pvalue < 1e-3  # the control: another temperature


def test_a_seed_fixes_the_samples() -> None:
    logits = torch.zeros(50)
    draws = [[choose(logits) for _ in range(20)] for choose in (sampled(1, 3), sampled(1, 3), sampled(1, 4))]
    assert draws[0] == draws[1] != draws[2]


def test_logits_that_are_not_finite_are_an_error() -> None:
    model = tiny_model(tiny_config("llama"))
    with torch.no_grad():
        model.get_input_embeddings().weight[PROMPT[0]] = torch.nan  # type: ignore[operator]
    with pytest.raises(UnwriteError, match="outputs NaN or infinity"):
        next(stream_tokens(model, PROMPT, 3, end_ids=[]))
