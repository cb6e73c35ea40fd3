"""Greedy responses equal those of a plain loop without cache or padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from tests.support.greedy import plain_response
from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import ZOO, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget, accepted_inputs, by_token_budget, left_padded
from unwrite.models.decoding import greedy_logits
from unwrite.models.discovery.padding import is_padding_sensitive
from unwrite.models.end_tokens import end_tokens
from unwrite.models.generation import generate_decided, generate_greedily
from unwrite.models.teacher_forcing import response_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
KINDS = ["llama", "qwen3", "phi3", "starcoder2", "gpt_neox", "cohere", "lfm2"]
MIXERS = {  # changes to the zoo's config where the cache of transformers supports only the widths of real models
    "llama": {},
    "gemma2": {},
    "gemma4_text": {},
    "llama4_text": {},
    "bloom": {},
    "mpt": {},
    "gpt2": {},
    "opt": {},
    "deepseek_v3": {},
    "qwen3_next": {},
    "kimi_linear": {},
    "minimax": {},
    "mamba": {},
    "mamba2": {},
    "falcon_mamba": {},
    "jamba": {},
    "bamba": {},
    "nemotron_h": {},
    "zamba2": {},
    "granitemoehybrid": {},
    "falcon_h1": {},
    "lfm2": {},
    "recurrent_gemma": {"lru_width": 32},
    "xlstm": {"hidden_size": 128},
}
CORRUPTED = ["recurrent_gemma", "xlstm", "minimax"]
# Every kind of cache, and models that select their inputs differently when they have one.
# fmt: off
GENERATING = [
    "arcee", "bamba", "bitnet", "bloom", "cohere2", "cpmant", "dbrx", "deepseek_v3", "deepseek_v4", "doge",
    "falcon_h1", "falcon_mamba", "gemma2", "gemma3", "gemma3_text", "gemma4_text", "gpt2", "gpt_oss",
    "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "llama", "llama4_text", "mamba", "mamba2", "minimax",
    "minimax_m3_vl_text", "mistral", "mpt", "nemotron_h", "opt", "paligemma", "phi3", "phimoe", "qwen2_vl",
    "qwen3_5", "qwen3_moe", "qwen3_next", "unlimited_ocr", "zamba", "zamba2",
]
# fmt: on
IRREDUCIBLE = ["deepseek_v4", "minimax", "minimax_m3_vl_text", "unlimited_ocr"]  # their cache is their own
IMAGE_TEXT = ["gemma3", "gemma4", "qwen2_vl", "qwen3_vl", "llava", "mistral3", "paligemma", "llama4", "qwen3_5"]


def mixer_model(name: str) -> PreTrainedModel:
    kind, changes = ZOO[name]
    return tiny_model(tiny_config(kind, **{**changes, **MIXERS[name]}))


def respond(
    model: PreTrainedModel, max_tokens: int = 8, batches: Sequence[Sequence[int]] = ((0, 1), (2, 3))
) -> list[list[int]]:
    return generate_greedily(model, PROMPTS, max_tokens, batches=batches)


@pytest.mark.parametrize("kind", KINDS)
def test_responses_equal_those_of_a_plain_loop(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    expected = [plain_response(model, prompt, 8) for prompt in PROMPTS]
    assert len({tuple(response) for response in expected}) > 1
    for batches in ([[0], [1], [2], [3]], [[3, 1, 2, 0]], [[1, 3], [0, 2]]):
        assert respond(model, 8, batches) == expected


@pytest.mark.parametrize("listed", [True, False])
def test_end_token_ends_a_response_and_is_left_out(listed: bool) -> None:
    model = tiny_model(tiny_config("llama"))
    free = respond(model)
    end = free[0][3]
    model.generation_config.eos_token_id = [end, 95] if listed else end
    cut = respond(model)
    assert cut == [plain_response(model, prompt, 8, [end, 95] if listed else [end]) for prompt in PROMPTS]
    assert cut[0] == free[0][: free[0].index(end)]
    assert end not in [token for response in cut for token in response]


def test_given_end_tokens_replace_those_of_the_model() -> None:
    model = tiny_model(tiny_config("llama"))
    free = respond(model)
    model.generation_config.eos_token_id = free[0][1]
    given = generate_greedily(model, PROMPTS, 8, end_ids=[free[0][3]])
    assert given[0] == free[0][: free[0].index(free[0][3])]
    assert generate_greedily(model, PROMPTS, 8, end_ids=[]) == free


def test_response_that_ends_at_once_is_empty() -> None:
    model = tiny_model(tiny_config("llama"))
    model.generation_config.eos_token_id = respond(model)[1][0]
    assert respond(model)[1] == []


@pytest.mark.parametrize("max_tokens", [1, 2, 5])
def test_responses_have_at_most_max_tokens(max_tokens: int) -> None:
    model = tiny_model(tiny_config("llama"))
    assert respond(model, max_tokens) == [response[:max_tokens] for response in respond(model)]
    assert {len(response) for response in respond(model, max_tokens)} == {max_tokens}


def test_sampling_settings_of_the_model_are_ignored() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = [plain_response(model, prompt, 8) for prompt in PROMPTS]
    common = [token for response in expected for token in response]
    settings = model.generation_config
    assert settings is not None
    settings.do_sample = True
    settings.temperature = 5.0
    settings.top_k = 3
    settings.top_p = 0.5
    settings.repetition_penalty = 1.9
    settings.no_repeat_ngram_size = 1
    settings.suppress_tokens = common[:4]
    settings.begin_suppress_tokens = common[:4]
    settings.bad_words_ids = [[common[0]]]
    settings.forced_eos_token_id = 7
    settings.min_new_tokens = 3
    settings.max_length = 5
    settings.max_new_tokens = 2
    settings.num_beams = 3
    torch.manual_seed(0)
    before = settings.to_dict()
    assert respond(model) == expected
    assert model.generation_config is settings
    assert settings.to_dict() == before


def test_model_without_end_token_fills_max_tokens() -> None:
    model = tiny_model(tiny_config("llama"))
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id is None
    assert end_tokens(model) == []
    assert {len(response) for response in respond(model, 6)} == {6}


def test_advance_counts_prompts() -> None:
    counts: list[int] = []
    generate_greedily(tiny_model(tiny_config("llama")), PROMPTS, 2, batches=[[3], [0, 1, 2]], advance=counts.append)
    assert counts == [1, 3]


def test_lengths_are_not_mixed_by_default() -> None:
    model = tiny_model(tiny_config("llama"))
    passes: list[tuple[int, ...]] = []
    hook = model.register_forward_pre_hook(
        lambda _m, _a, inputs: passes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    prompts = [*PROMPTS, [31, 32, 33]]
    actual = generate_greedily(model, prompts, max_tokens=1)
    hook.remove()
    assert passes == [(1, 1), (2, 3), (1, 5), (1, 7)]
    assert actual == [plain_response(model, prompt, 1) for prompt in prompts]


RESPONSES = [[40, 41, 42, 43, 44, 45], [50, 51, 52, 53], [60, 61], []]


def check_batches(model: PreTrainedModel, *, padding_sensitive: bool) -> None:
    """Compare batches, made as in the stages, with one prompt at a time, without cache or padding."""
    prompts, teacher_forced = [*PROMPTS, [31, 32, 33]], [*RESPONSES, [70, 71]]
    batches = by_token_budget([len(prompt) for prompt in prompts], 100, padding_sensitive=padding_sensitive)
    assert len(batches) == (4 if padding_sensitive else 1)
    assert generate_greedily(model, prompts, 5, batches=batches) == [plain_response(model, p, 5) for p in prompts]
    for rows in batches:
        logits, mask = response_logits(model, [prompts[row] for row in rows], [teacher_forced[row] for row in rows], 4)
        for place, row in enumerate(rows):
            with torch.inference_mode():
                full = model(input_ids=torch.tensor([[*prompts[row], *teacher_forced[row]]]), use_cache=False).logits[0]
            expected = full[len(prompts[row]) - 1 :][: int(mask[place].sum())]
            torch.testing.assert_close(logits[place, mask[place]], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MIXERS)
def test_batches_agree_with_single_prompts_for_every_mixer(name: str) -> None:
    check_batches(mixer_model(name), padding_sensitive=is_padding_sensitive(zoo_model(name, torch.float64)))


@pytest.mark.parametrize("name", CORRUPTED)
def test_control_padding_in_a_recurrent_state_changes_logits(name: str) -> None:
    model = mixer_model(name)
    alone = torch.cat([greedy_logits(model, [prompt], 3) for prompt in PROMPTS])
    padded = greedy_logits(model, PROMPTS, 3)
    assert float(((padded - alone).norm(dim=-1) / alone.norm(dim=-1)).max()) > 1e-3
    longest = max(range(len(PROMPTS)), key=lambda row: len(PROMPTS[row]))
    torch.testing.assert_close(padded[longest], alone[longest], rtol=1e-3, atol=1e-4)  # it is not padded


@pytest.mark.parametrize("name", IMAGE_TEXT)
def test_image_text_models_run_on_text_alone(name: str) -> None:
    check_batches(zoo_model(name), padding_sensitive=False)


def test_end_token_of_an_image_text_model_may_be_in_its_text_config() -> None:
    model = zoo_model("llava")
    assert end_tokens(model) == []
    model.config.get_text_config().eos_token_id = 9
    assert end_tokens(model) == [9]


SAME_LENGTH = [
    [3, 4, 5, 6, 7, 8, 9],
    [10, 11, 12, 13, 14, 15, 16],
    [20, 21, 22, 23, 24, 25, 26],
    [30, 31, 32, 33, 34, 35, 36],
]


def generated(model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Generate with transformers, without end tokens."""
    from transformers import GenerationConfig

    config = GenerationConfig(do_sample=False, max_new_tokens=max_tokens, pad_token_id=0, use_cache=True)
    model.generation_config = config
    inputs: dict[str, Any] = accepted_inputs(model, left_padded(prompts, model.device))
    ids: Any = model.generate(**inputs, generation_config=config)  # type: ignore[operator]
    responses: list[list[int]] = ids[:, inputs["input_ids"].shape[1] :].tolist()
    return responses


@pytest.mark.parametrize("name", GENERATING)
@pytest.mark.filterwarnings("ignore")
def test_every_architecture_generates_the_same_as_transformers_even_when_rows_finish(name: str) -> None:
    model = zoo_model(name)
    for config in (model.config, model.config.get_text_config()):
        config.eos_token_id = None
    whole = generated(model, SAME_LENGTH, 6)
    assert generate_greedily(model, SAME_LENGTH, 6, batches=[[2, 0, 1, 3]]) == whole
    passes: list[list[int]] = []
    decided = generate_decided(
        model,
        SAME_LENGTH,
        [[2, 0, 1, 3]],
        6,
        lambda row, response: len(response) > row,
        before_pass=lambda rows: passes.append(list(rows)),
    )
    assert decided == [response[: row + 1] for row, response in enumerate(whole)]
    if name in IRREDUCIBLE:
        assert passes == [[2, 0, 1, 3]] * 4
    else:
        assert passes == [[2, 0, 1, 3], [2, 1, 3], [2, 3], [3]]


def test_whole_sequence_is_run_again_without_a_cache() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = respond(model)
    inner, widths = model.forward, []

    def forward(input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Any:
        widths.append(input_ids.shape[1])
        return inner(input_ids, attention_mask, position_ids, use_cache=False)

    model.forward = forward
    assert respond(model) == expected
    assert widths == [*range(7, 15), *range(5, 13)]


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "lfm2"])
def test_deciding_one_response_changes_no_other(kind: str) -> None:
    model = tiny_model(tiny_config(kind))
    whole = generate_greedily(model, PROMPTS, 8, batches=[[0, 1, 2, 3]])
    for stops in ([1, 8, 3, 5], [8, 1, 1, 8], [2, 2, 2, 7], [9, 9, 9, 1]):
        calls: list[tuple[int, int]] = []

        def decided(row: int, response: list[int], stops: list[int] = stops, calls: Any = calls) -> bool:
            calls.append((row, len(response)))
            return len(response) == stops[row]

        actual = generate_decided(model, PROMPTS, [[3, 1, 2, 0]], 8, decided)
        assert actual == [response[:stop] for response, stop in zip(whole, stops, strict=True)]
        # Asked after each token, and never again once decided.
        assert sorted(calls) == sorted((row, n) for row, stop in enumerate(stops) for n in range(1, min(stop, 8) + 1))


def test_before_pass_gets_the_rows_of_each_pass() -> None:
    model = tiny_model(tiny_config("llama"))
    events: list[Any] = []
    model.register_forward_pre_hook(lambda _m, _a, kw: events.append(kw["input_ids"].shape[0]), with_kwargs=True)
    generate_decided(
        model,
        PROMPTS,
        [[2, 1], [3, 0]],
        6,
        lambda row, response: len(response) == [2, 1, 4, 3][row],
        before_pass=lambda rows: events.append(list(rows)),
    )
    assert events == [[2, 1], 2, [2], 1, [2], 1, [2], 1, [3, 0], 2, [3, 0], 2, [3], 1]


def fake_out_of_memory(model: PreTrainedModel, most_rows: int) -> list[int]:
    """Make a layer run out of memory beyond that many rows; return the number of rows in each of its passes."""
    passes: list[int] = []

    def allocate(_module: object, args: tuple[Tensor, ...]) -> None:
        passes.append(args[0].shape[0])
        if passes[-1] > most_rows:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    model.get_submodule("model.layers.1").register_forward_pre_hook(allocate)
    return passes


def test_out_of_memory_halves_the_batch_and_is_remembered() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = respond(model)
    passes = fake_out_of_memory(model, 2)
    budget = Budget(1000)
    advanced: list[int] = []
    actual = generate_greedily(model, PROMPTS, 8, batches=[[0, 1, 2, 3]], budget=budget, advance=advanced.append)
    assert actual == expected
    assert passes == [4] + [2] * 16
    assert advanced == [2, 2]
    assert budget.tokens == 4 * (7 + 8) // 2
    passes.clear()
    generate_greedily(model, PROMPTS, 8, batches=[[0, 1, 2, 3]], budget=budget, advance=advanced.append)
    assert max(passes) <= 2


def test_single_prompt_that_does_not_fit_is_an_error() -> None:
    model = tiny_model(tiny_config("llama"))
    fake_out_of_memory(model, 0)
    with pytest.raises(UnwriteError, match=r"Memory ran out on a single prompt \(9 tokens, response included\)"):
        generate_greedily(model, PROMPTS, 8, batches=[[3, 0]])
