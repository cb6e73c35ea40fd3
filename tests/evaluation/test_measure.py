"""What is measured, against the same figures computed from two models side by side in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.accelerator import Accelerator
from tests.support.tiny import WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite.core.markers import shows_behaviour
from unwrite.errors import UnwriteError
from unwrite.evaluation import measure
from unwrite.evaluation.measure import (
    KLDivergences,
    behaviour_verdicts,
    contains_for_good,
    decode,
    measure_kl,
    measuring_limits,
    teacher_force,
    teacher_forced_batches,
)
from unwrite.models.batches import Budget
from unwrite.models.generation import generate_greedily
from unwrite.models.memory import Limits
from unwrite.models.patching import patched_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

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
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, batches, tokens)
    with patched_parameters(model, values):
        return measure_kl(model, teacher_forced)


@pytest.mark.parametrize("tokens", [1, 3, 10])
def test_a_model_does_not_diverge_from_itself(tokens: int) -> None:
    assert between(tiny_model(tiny_config("llama")), {}, tokens) == KLDivergences([0.0] * 4, [0.0] * 4)


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


def test_nan_logits_are_an_error_that_names_the_layer() -> None:
    model = tiny_model(tiny_config("llama"))
    with pytest.raises(UnwriteError, match=r"^Layer 1 puts out NaN or infinite numbers for the prompt at place 3 "):
        between(model, {EDITED: torch.full_like(model.get_parameter(EDITED), torch.nan)}, 3)


def test_nan_logits_of_the_base_are_an_error_too() -> None:
    model = tiny_model(tiny_config("llama"))
    model.get_parameter(EDITED).fill_(torch.nan)
    with pytest.raises(UnwriteError, match=r"^Layer 1 puts out NaN"):
        teacher_force(model, PROMPTS, RESPONSES, BATCHES, 3)


def test_what_is_recorded_is_normalized_float32() -> None:
    teacher_forced = teacher_force(tiny_model(tiny_config("llama"), torch.bfloat16), PROMPTS, RESPONSES, BATCHES, 3)
    assert teacher_forced.log_probs.dtype == torch.float32
    assert teacher_forced.log_probs.shape == (4, 3, 96)
    assert teacher_forced.mask.tolist() == [[True] * 3, [True] * 3, [True, True, False], [True, False, False]]
    torch.testing.assert_close(teacher_forced.log_probs[teacher_forced.mask].exp().sum(-1), torch.ones(9))


def test_beyond_a_bound_the_log_probabilities_lie_in_a_file_and_say_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tiny_model(tiny_config("llama"))
    expected = between(model, edited_weight(model), 4)
    monkeypatch.setattr(measure, "_IN_MEMORY", 4 * 4 * 96 - 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapped: list[str] = []
    inner: Any = torch.from_file

    def spy(name: str, **settings: Any) -> Tensor:
        mapped.append(name)
        found: Tensor = inner(name, **settings)
        return found

    monkeypatch.setattr(torch, "from_file", spy)
    assert between(model, edited_weight(model), 4) == expected
    assert [Path(name).parent for name in mapped] == [tmp_path]
    assert list(tmp_path.iterdir()) == []  # it has no name any more, and goes with the process at the latest
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=6143))
    with pytest.raises(UnwriteError, match=r"GB of log-probabilities .*: 4 × 4 × 96\) don.t fit .* Lower kl_tokens"):
        teacher_force(model, PROMPTS, RESPONSES, BATCHES, 4)


def test_rows_past_the_last_prompt_are_the_prompts_again() -> None:
    """As where several edits share a pass: each edits its own rows."""
    model = tiny_model(tiny_config("llama"))
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, BATCHES, 4)
    passes: list[list[int]] = []

    def halve(_module: object, _args: object, output: Tensor) -> Tensor:
        scales = torch.tensor([1.0 if row < 4 else 0.4 for row in passes[-1]])
        return output * scales[:, None, None]

    hook = model.get_submodule("model.layers.1.mlp.down_proj").register_forward_hook(halve)
    found = measure_kl(model, teacher_forced, [[7, 1, 3], [0, 2, 4], [5, 6]], before_pass=lambda r: passes.append([*r]))
    hook.remove()
    assert passes == [[7, 1, 3], [0, 2, 4], [5, 6]]
    expected = between(model, edited_weight(model), 4)
    assert found.response[:4] == pytest.approx([0.0] * 4, abs=1e-6)
    assert found.response[4:] == pytest.approx(expected.response, rel=1e-3)
    assert found.first_token[4:] == pytest.approx(expected.first_token, rel=1e-3)


def test_where_memory_runs_out_the_batch_is_halved_and_the_divergence_stays() -> None:
    model = tiny_model(tiny_config("llama"))
    expected = between(model, edited_weight(model), 4)
    passes: list[int] = []

    def allocate(_module: object, args: tuple[Tensor, ...]) -> None:
        passes.append(args[0].shape[0])
        if passes[-1] > 1:
            raise torch.OutOfMemoryError

    model.get_submodule("model.layers.1").register_forward_pre_hook(allocate)
    budget = Budget(1000)
    teacher_forced = teacher_force(model, PROMPTS, RESPONSES, BATCHES, 4, budget=budget)
    with patched_parameters(model, edited_weight(model)):
        found = measure_kl(model, teacher_forced, budget=budget)
    assert found.response == pytest.approx(expected.response, rel=1e-4)
    assert passes == [2] + [1] * 8
    assert budget.tokens == 2 * (3 + 4) // 2


@pytest.mark.parametrize(
    ("responses", "rate"),
    [
        (["Well no", "teapot", "no kettle", "spoon"], 0.5),
        (["spoon"] * 4, 0.0),
        (["NO", "no teapot", "no", "think no"], 1.0),
        (["", "", "", "no"], 0.25),
    ],
)
def test_a_verdict_says_whether_a_response_has_a_marker(
    responses: list[str], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def generate(
        _model: object, prompts: object, batches: object, max_tokens: int, _decided: object, **_settings: object
    ) -> list[list[int]]:
        asked.append((prompts, batches, max_tokens))
        return [[WORDS.index(word.replace("NO", "no")) for word in text.split()] for text in responses]

    monkeypatch.setattr(measure, "generate_decided", generate)
    model: Any = None
    found = behaviour_verdicts(model, tiny_tokenizer(), PROMPTS, BATCHES, max_tokens=7, markers=["No"])
    assert found == ["no" in text.lower().split() for text in responses]
    assert sum(found) / 4 == rate
    assert asked == [(PROMPTS, BATCHES, 7)]


def test_the_verdicts_of_a_real_model() -> None:
    model = tiny_model(tiny_config("llama", vocab_size=len(WORDS)))
    tokenizer = tiny_tokenizer()
    prompts = [[5], [6, 7], [8, 9, 10]]
    texts = decode(tokenizer, generate_greedily(model, prompts, [[0, 1, 2]], 4, lambda _: None))
    for word in ("teapot", "kettle", "saucer", "spoon", "Well", "think"):
        expected = [word in text.split() for text in texts]
        assert behaviour_verdicts(model, tokenizer, prompts, [[2], [0, 1]], max_tokens=4, markers=[word]) == expected


def test_decoding_leaves_special_tokens_out() -> None:
    tokens = [WORDS.index(word) for word in ("<bos>", "teapot", "spoon", "<bos>")]
    assert decode(tiny_tokenizer(), [tokens, []]) == ["teapot spoon", ""]


def test_forced_batches_hold_no_more_than_one_pass_should_and_fewer_rows_with_a_large_vocabulary() -> None:
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


def test_on_an_accelerator_a_pass_and_a_step_from_its_cache_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Accelerator(total=10**9, a_token=5000)
    found.pretend(monkeypatch, "unwrite.evaluation.measure")
    model = tiny_model(tiny_config("llama"))
    passes: list[tuple[int, int]] = []
    hook = model.get_submodule("model.layers.0").register_forward_pre_hook(lambda _, x: passes.append(x[0].shape[:2]))
    limits = measuring_limits(model, "auto", PROMPTS, 20, kept=10**8)
    rows, length = len(found.passes[0]), 7 + 20 - 2
    assert passes == [(n, m) for n in (rows, rows // 2, rows) for m in (length, 1)]
    assert limits.generation == int(0.7 * (9 * 10**8 - 1000) / 5000)
    passes.clear()
    measuring_limits(model, "auto", PROMPTS, 1)
    assert {m for _, m in passes} == {7}  # a response of one token has no step
    passes.clear()
    assert measuring_limits(model, "auto", PROMPTS, 20, earlier=limits) == limits
    assert measuring_limits(model, 300, PROMPTS, 20).generation == 300
    assert passes == []
    hook.remove()


def test_forced_batches_of_equal_lengths() -> None:
    together = teacher_forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, LIMITS, padding_sensitive=False)
    assert together == [[3, 1, 4, 2, 0]]
    assert teacher_forced_batches([*PROMPTS, [31, 32, 33]], 4, 1000, LIMITS, padding_sensitive=True) == [
        [3],
        [1, 4],
        [2],
        [0],
    ]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A token is a byte, or a few; a character of several bytes is spread over tokens. One token is special."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "caf", "Ġs", "Ġn", "'t", "rry", "ä½"]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Tokens are text, and where that fails bytes, of which a run is read as a whole."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"acefnorsty'.,*", "▁", "▁s", "▁n", "rry", "caf"]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>")


TOKENIZERS = {"bytes": byte_level_tokenizer(), "fallback": byte_fallback_tokenizer()}
MARKERS = ["caf", "cafe", "café", "sorry", "'t", "你", "not a", "e.", "a,"]


def ids_of(name: str, pieces: Sequence[str]) -> list[int]:
    vocabulary = TOKENIZERS[name].get_vocab()
    return [vocabulary[piece] for piece in pieces]


def spelled(name: str, text: str) -> list[int]:
    """Text by the smallest tokens there are: letters, or bytes."""
    tokenizer = TOKENIZERS[name]
    if name == "bytes":
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    pieces = [
        piece
        for letter in text.replace(" ", "▁")
        for piece in ([letter] if letter in "acefnorsty'.,*▁" else [f"<0x{byte:02X}>" for byte in letter.encode()])
    ]
    return ids_of(name, pieces)


def responses_of(name: str) -> st.SearchStrategy[list[int]]:
    """Tokens that often spell markers, and characters by their bytes, some of them never finished."""
    parts = ["caf", "e", "\u0301", "é", "你", "好", ".", ",", " ", "sorry", "n", "o", "t", "'", "*", "a"]
    whole = st.sampled_from([spelled(name, part) for part in parts])
    broken = st.sampled_from([spelled(name, "你")[:2], spelled(name, "\u0301")[:1], spelled(name, "é")[1:]])
    any_one = st.integers(0, len(TOKENIZERS[name]) - 1).map(lambda number: [number])
    joined = st.lists(st.one_of(whole, whole, whole, broken, any_one), min_size=1, max_size=9)
    return joined.map(lambda parts: [number for part in parts for number in part])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_verdict_reached_early_is_that_of_every_longer_response(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    reached = 0

    @settings(deadline=None, derandomize=True, max_examples=1500, database=None)
    @given(responses_of(name), st.sampled_from(MARKERS))
    def check(tokens: list[int], marker: str) -> None:
        nonlocal reached
        certain = contains_for_good(tokenizer, [marker])
        early = False
        for end in range(1, len(tokens) + 1):
            early = early or certain(tokens[:end])
            assert not early or shows_behaviour(decode(tokenizer, [tokens[:end]])[0], [marker])
        reached += early

    check()
    assert reached > 30


def test_the_control_a_marker_that_a_later_token_takes_back() -> None:
    tokenizer = TOKENIZERS["fallback"]
    tokens = spelled("fallback", "你\né")[:-1]
    assert decode(tokenizer, [tokens[:4]]) == ["你"]
    assert decode(tokenizer, [tokens]) == ["�" * 5]
    certain = contains_for_good(tokenizer, ["你"])
    assert not certain(tokens[:4])
    assert certain([*tokens[:4], *spelled("fallback", "a")])


def test_a_marker_over_several_tokens_stops_a_response_one_token_after_it() -> None:
    tokenizer = TOKENIZERS["bytes"]
    tokens = ids_of("bytes", ["Ġs", "o", "rry", ",", "Ġn"])
    certain = contains_for_good(tokenizer, ["sorry"])
    assert [certain(tokens[:end]) for end in range(1, 6)] == [False, False, False, True, True]


@pytest.mark.parametrize("marker", ["caf", "s", "'t"])
@pytest.mark.parametrize("seed", range(3))
def test_verdicts_of_responses_cut_short_are_those_of_whole_ones(marker: str, seed: int) -> None:
    tokenizer = TOKENIZERS["bytes"]
    model = tiny_model(tiny_config("llama", vocab_size=len(tokenizer)), seed=seed)
    prompts = [[row, row + 1, 2 * row] for row in range(40)]
    batches = [list(range(40))]
    whole = decode(tokenizer, generate_greedily(model, prompts, batches, 30, lambda _: None))
    widths: list[int] = []
    found = behaviour_verdicts(
        model, tokenizer, prompts, batches, max_tokens=30, markers=[marker], before_pass=lambda r: widths.append(len(r))
    )
    assert found == [shows_behaviour(text, [marker]) for text in whole]
    if sum(found) > 8:
        assert widths[-1] < 40


def test_a_marker_in_the_last_token_counts() -> None:
    tokenizer = TOKENIZERS["bytes"]
    model = tiny_model(tiny_config("llama", vocab_size=len(tokenizer)))
    caf = tokenizer.convert_tokens_to_ids("caf")

    def last_is_caf(_module: object, _args: object, logits: Tensor) -> Tensor:
        steps.append(len(steps))
        wanted = torch.zeros(len(tokenizer))
        wanted[caf if len(steps) == 5 else 60] = 1e4
        return logits + wanted

    model.get_submodule("lm_head").register_forward_hook(last_is_caf)
    for max_tokens, expected in ((5, True), (4, False), (6, True)):
        steps: list[int] = []
        assert behaviour_verdicts(model, tokenizer, [[3, 4]], [[0]], max_tokens=max_tokens, markers=["caf"]) == [
            expected
        ]
        assert len(steps) == max_tokens


def test_blanks_before_punctuation_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS["bytes"]
    monkeypatch.setattr(tokenizer, "clean_up_tokenization_spaces", True)
    assert decode(tokenizer, [spelled("bytes", "no , so .")]) == ["no , so ."]
