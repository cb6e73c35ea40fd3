"""What is measured, against the same figures computed from two models side by side in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.models.tiny import WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite import measure
from unwrite.errors import UnwriteError
from unwrite.measure import Divergences, behaviour_rate, decode, force_responses, forced_batches, measure_divergence
from unwrite.models.apply import replaced_parameters
from unwrite.models.generation import generate_greedily

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
RESPONSES = [[40, 41, 42, 43, 44, 45], [50, 51, 52, 53], [60], []]
BATCHES = [[3, 1], [0, 2]]
EDITED = "model.layers.1.mlp.down_proj.weight"


def edited_weight(model: PreTrainedModel, factor: float = 0.4) -> dict[str, Tensor]:
    return {EDITED: model.get_parameter(EDITED).detach() * factor}


def between(
    model: PreTrainedModel, values: dict[str, Tensor], tokens: int, batches: Sequence[Sequence[int]] = BATCHES
) -> Divergences:
    forced = force_responses(model, PROMPTS, RESPONSES, batches, tokens)
    with replaced_parameters(model, values):
        return measure_divergence(model, forced)


@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_a_model_does_not_diverge_from_itself(tokens: int) -> None:
    assert between(tiny_model(tiny_config("llama")), {}, tokens) == Divergences([0.0] * 4, [0.0] * 4)


@pytest.mark.parametrize("tokens", [1, 2, 4, 10])
@pytest.mark.parametrize("batches", [BATCHES, [[0], [1], [2], [3]], [[0, 1, 2, 3]]])
def test_an_edited_one_diverges_as_two_models_do_in_float64(tokens: int, batches: list[list[int]]) -> None:
    model = tiny_model(tiny_config("llama"))
    found = between(model, edited_weight(model), tokens, batches)
    wide, other = (tiny_model(tiny_config("llama"), torch.float64) for _ in range(2))
    other.get_parameter(EDITED).mul_(0.4)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.tensor([[*prompt, *response]])
        log_p, log_q = (m(input_ids=ids).logits[0].double().log_softmax(-1) for m in (wide, other))
        each = (log_p.exp() * (log_p - log_q)).sum(-1)[len(prompt) - 1 :]
        # A response of n tokens has n + 1 positions, the last of which predicts its end; at most `tokens` count.
        counted = each[: min(tokens, len(response) + 1)]
        assert found.first_token[row] == pytest.approx(float(each[0]), rel=1e-3, abs=1e-6)
        assert found.response[row] == pytest.approx(float(counted.mean()), rel=1e-3, abs=1e-6)
    assert min(found.first_token) > 1e-4
    if tokens == 1:
        assert found.first_token == found.response


def test_nan_logits_are_an_error() -> None:
    model = tiny_model(tiny_config("llama"))
    with pytest.raises(UnwriteError, match="the edited logits hold NaN"):
        between(model, {EDITED: torch.full_like(model.get_parameter(EDITED), torch.nan)}, 3)


def test_what_is_recorded_is_normalized_float32_on_the_cpu() -> None:
    forced = force_responses(tiny_model(tiny_config("llama"), torch.bfloat16), PROMPTS, RESPONSES, BATCHES, 3)
    for log_probs in forced.log_probs:
        assert log_probs.dtype == torch.float32
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


@pytest.mark.parametrize(
    ("responses", "rate"),
    [
        (["Well no", "teapot", "no kettle", "spoon"], 0.5),
        (["spoon"] * 4, 0.0),
        (["NO", "no teapot", "no", "think no"], 1.0),
        (["", "", "", "no"], 0.25),
    ],
)
def test_the_rate_is_the_share_of_responses_with_a_marker(
    responses: list[str], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def generate(
        _model: object, prompts: object, batches: object, max_tokens: int, _advance: object
    ) -> list[list[int]]:
        asked.append((prompts, batches, max_tokens))
        return [[WORDS.index(word.replace("NO", "no")) for word in text.split()] for text in responses]

    monkeypatch.setattr(measure, "generate_greedily", generate)
    model: Any = None
    found = behaviour_rate(model, tiny_tokenizer(), PROMPTS, BATCHES, max_tokens=7, markers=["No"])
    assert found == rate
    assert asked == [(PROMPTS, BATCHES, 7)]


def test_the_rate_of_a_real_model() -> None:
    model = tiny_model(tiny_config("llama", vocab_size=len(WORDS)))
    tokenizer = tiny_tokenizer()
    prompts = [[5], [6, 7], [8, 9, 10]]
    texts = decode(tokenizer, generate_greedily(model, prompts, [[0, 1, 2]], 4, lambda _: None))
    for word in ("teapot", "kettle", "saucer", "spoon", "Well", "think"):
        expected = sum(word in text.split() for text in texts) / 3
        assert behaviour_rate(model, tokenizer, prompts, [[2], [0, 1]], max_tokens=4, markers=[word]) == expected


def test_decoding_leaves_special_tokens_out() -> None:
    tokens = [WORDS.index(word) for word in ("<bos>", "teapot", "spoon", "<bos>")]
    assert decode(tiny_tokenizer(), [tokens, []]) == ["teapot spoon", ""]


def test_a_large_vocabulary_makes_smaller_forced_batches() -> None:
    prompts = [[1, 2, 3]] * 100
    assert [len(batch) for batch in forced_batches(prompts, 32, 1000, 16384, equal_lengths=False)] == [100]
    small = forced_batches(prompts, 32, 256_000, 16384, equal_lengths=False)
    assert max(len(batch) for batch in small) * 32 * 256_000 <= 2**25
    assert sum(len(batch) for batch in small) == 100


def test_forced_batches_of_equal_lengths() -> None:
    together = forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, 16384, equal_lengths=False)
    assert together == [[3, 1, 4, 2, 0]]
    assert forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, 16384, equal_lengths=True) == [[3], [1, 4], [2], [0]]
