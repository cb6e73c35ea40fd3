"""KL divergence, against the same figures computed from two models side by side in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.evaluation import divergence
from unwrite.evaluation.divergence import KLDivergences, measure_kl, teacher_force, teacher_forced_batches
from unwrite.models.batches import Budget
from unwrite.models.memory import Limits
from unwrite.models.patching import patched_parameters
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
RESPONSES = [[40, 41, 42, 43, 44, 45], [50, 51, 52, 53], [60], []]
BATCHES = [[3, 1], [0, 2]]
LIMITS = Limits(generation=16384, one_pass=2048, logits=1 << 25)
EDITED = "model.layers.1.mlp.down_proj.weight"


def edited_weight(model: PreTrainedModel, factor: float = 0.4) -> dict[str, Tensor]:
    return {EDITED: model.get_parameter(EDITED).detach() * factor}


def between(
    model: PreTrainedModel, values: dict[str, Tensor], tokens: int, batches: Sequence[Sequence[int]] = BATCHES
) -> KLDivergences:
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, tokens, batches=batches)
    with patched_parameters(model, values):
        return measure_kl(model, teacher_forced)


@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_a_model_does_not_diverge_from_itself(tokens: int) -> None:
    assert between(tiny_model(tiny_config("llama")), {}, tokens) == KLDivergences([0.0] * 4, [0.0] * 4)


@pytest.mark.parametrize("tokens", [1, 2, 4, 10])
@pytest.mark.parametrize("batches", [BATCHES, [[0], [1], [2], [3]], [[0, 1, 2, 3]]])
def test_an_edited_model_diverges_as_two_models_do_in_float64(tokens: int, batches: list[list[int]]) -> None:
    model = tiny_model(tiny_config("llama"))
    actual = between(model, edited_weight(model), tokens, batches)
    wide, other = (tiny_model(tiny_config("llama"), torch.float64) for _ in range(2))
    other.get_parameter(EDITED).mul_(0.4)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        ids = torch.tensor([[*prompt, *response]])
        log_p, log_q = (m(input_ids=ids).logits[0].double().log_softmax(-1) for m in (wide, other))
        each = (log_p.exp() * (log_p - log_q)).sum(-1)[len(prompt) - 1 :]
        # A response of n tokens has n + 1 positions, the last of which predicts its end; at most `tokens` count.
        counted = each[: min(tokens, len(response) + 1)]
        assert actual.first_token[row] == pytest.approx(float(each[0]), rel=1e-3, abs=1e-6)
        assert actual.response[row] == pytest.approx(float(counted.mean()), rel=1e-3, abs=1e-6)
    assert min(actual.first_token) > 1e-4
    if tokens == 1:
        assert actual.first_token == actual.response


def test_nan_logits_raise_an_error_that_names_the_layer() -> None:
    model = tiny_model(tiny_config("llama"))
    with pytest.raises(UnwriteError, match=r"^Layer 1 outputs NaN or infinity for the prompt at index 3\."):
        between(model, {EDITED: torch.full_like(model.get_parameter(EDITED), torch.nan)}, 3)


def test_nan_logits_at_positions_that_do_not_count_raise_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_nan_in_padding(*args: Any) -> tuple[Tensor, Tensor]:
        logits, mask = response_logits(*args)
        return logits.masked_fill(~mask.unsqueeze(-1), torch.nan), mask

    model = tiny_model(tiny_config("llama"))
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, 3, batches=BATCHES)
    monkeypatch.setattr(divergence, "response_logits", with_nan_in_padding)
    with pytest.raises(UnwriteError, match=r"^The edited model: edited logits .* NaN in .* rows\. Lower the bounds"):
        measure_kl(model, teacher_forced)
    with pytest.raises(UnwriteError, match=r"^The base model: base logits must be finite .*\. Lower the bounds"):
        teacher_force(model, PROMPTS, RESPONSES, 3, batches=BATCHES)


def test_nan_logits_of_the_base_raise_the_same_error() -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter(EDITED).fill_(torch.nan)
    with pytest.raises(UnwriteError, match=r"^Layer 1 outputs NaN"):
        teacher_force(model, PROMPTS, RESPONSES, 3, batches=BATCHES)


def test_recorded_log_probabilities_are_normalized_float32() -> None:
    teacher_forced = teacher_force(
        tiny_model(tiny_config("llama"), torch.bfloat16), PROMPTS, RESPONSES, 3, batches=BATCHES
    )
    assert teacher_forced.log_probs.dtype == torch.float32
    assert teacher_forced.log_probs.shape == (4, 3, 96)
    assert teacher_forced.mask.tolist() == [[True] * 3, [True] * 3, [True, True, False], [True, False, False]]
    torch.testing.assert_close(teacher_forced.log_probs[teacher_forced.mask].exp().sum(-1), torch.ones(9))


def test_large_log_probabilities_are_kept_in_a_temporary_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tiny_model(tiny_config("llama"))
    expected = between(model, edited_weight(model), 4)
    monkeypatch.setattr(divergence, "_IN_MEMORY", 4 * 4 * 96 - 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapped: list[str] = []
    inner: Any = torch.from_file

    def spy(name: str, **settings: Any) -> Tensor:
        mapped.append(name)
        actual: Tensor = inner(name, **settings)
        return actual

    monkeypatch.setattr(torch, "from_file", spy)
    assert between(model, edited_weight(model), 4) == expected
    assert [Path(name).parent for name in mapped] == [tmp_path]
    assert list(tmp_path.iterdir()) == []  # the file has no name any more and is gone with the process at the latest
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=6143))
    with pytest.raises(
        UnwriteError, match=r"^0 MB of log-probabilities .*: 4 × 4 × 96\) do not fit .* Lower kl_tokens"
    ):
        teacher_force(model, PROMPTS, RESPONSES, 4, batches=BATCHES)


def test_rows_beyond_the_last_prompt_repeat_the_prompts() -> None:
    """Several edits can share a pass, each with rows of its own."""
    model = tiny_model(tiny_config("llama"))
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, 4, batches=BATCHES)
    passes: list[list[int]] = []

    def halve(_module: object, _args: object, output: Tensor) -> Tensor:
        scales = torch.tensor([1.0 if row < 4 else 0.4 for row in passes[-1]])
        return output * scales[:, None, None]

    hook = model.get_submodule("model.layers.1.mlp.down_proj").register_forward_hook(halve)
    actual = measure_kl(
        model, teacher_forced, [[7, 1, 3], [0, 2, 4], [5, 6]], before_pass=lambda r: passes.append([*r])
    )
    hook.remove()
    assert passes == [[7, 1, 3], [0, 2, 4], [5, 6]]
    expected = between(model, edited_weight(model), 4)
    assert actual.response[:4] == pytest.approx([0.0] * 4, abs=1e-6)
    assert actual.response[4:] == pytest.approx(expected.response, rel=1e-3)
    assert actual.first_token[4:] == pytest.approx(expected.first_token, rel=1e-3)


def test_out_of_memory_halves_the_batch_and_keeps_the_divergence() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = between(model, edited_weight(model), 4)
    passes: list[int] = []

    def allocate(_module: object, args: tuple[Tensor, ...]) -> None:
        passes.append(args[0].shape[0])
        if passes[-1] > 1:
            raise torch.OutOfMemoryError

    model.get_submodule("model.layers.1").register_forward_pre_hook(allocate)
    budget = Budget(1000)
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, 4, batches=BATCHES, budget=budget)
    with patched_parameters(model, edited_weight(model)):
        actual = measure_kl(model, teacher_forced, budget=budget)
    assert actual.response == pytest.approx(expected.response, rel=1e-4)
    assert passes == [2] + [1] * 8
    assert budget.tokens == 2 * (3 + 4) // 2


def test_batches_respect_the_limit_of_a_pass_and_a_large_vocabulary() -> None:
    prompts = [[1, 2, 3]] * 100
    assert [len(batch) for batch in teacher_forced_batches(prompts, 32, 1000, LIMITS, padding_sensitive=False)] == [
        58,
        42,
    ]
    few = LIMITS._replace(one_pass=350)
    assert [len(batch) for batch in teacher_forced_batches(prompts, 32, 1000, few, padding_sensitive=False)] == [
        10
    ] * 10
    wide = Limits(10**6, 10**6, 10**9)  # an accelerator's: all at once
    assert [len(batch) for batch in teacher_forced_batches(prompts, 32, 1000, wide, padding_sensitive=False)] == [100]
    small = teacher_forced_batches(prompts, 32, 256_000, LIMITS, padding_sensitive=False)
    assert max(len(batch) for batch in small) * 32 * 256_000 <= 2**25
    assert sum(len(batch) for batch in small) == 100


def test_batches_of_one_length_where_padding_matters() -> None:
    together = teacher_forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, LIMITS, padding_sensitive=False)
    assert together == [[3, 1, 4, 2, 0]]
    assert teacher_forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, LIMITS, padding_sensitive=True) == [
        [3],
        [1, 4],
        [2],
        [0],
    ]


def test_defaults_count_every_token_in_batches_of_one_length() -> None:
    model = tiny_model(tiny_config("llama"))
    prompts, responses = [*PROMPTS, [31, 32, 33]], [*RESPONSES, [61, 62]]
    by_default = teacher_force(model, prompts, responses)
    assert by_default.tokens == 7  # the longest response and its end
    assert by_default.batches == [[3], [1, 4], [2], [0]]
    given = teacher_force(model, prompts, responses, 7, batches=[[3], [1, 4], [2], [0]])
    with patched_parameters(model, edited_weight(model)):
        expected = measure_kl(model, given)
        assert measure_kl(model, by_default) == expected
        one_token = measure_kl(model, teacher_force(model, prompts, responses, 1))
    assert one_token.response != expected.response


@pytest.mark.parametrize("responses", [[], [[5], [6]]])
def test_every_prompt_needs_one_response(responses: list[list[int]]) -> None:
    prompts = [[7]] if responses else []
    with pytest.raises(ValueError, match=f"got {len(prompts)} and {len(responses)} responses"):
        teacher_force(tiny_model(tiny_config("llama")), prompts, responses)
