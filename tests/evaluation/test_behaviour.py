"""Verdicts on responses: the same whether a response is generated whole or only until its verdict is certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.tiny import WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite.core.markers import shows_behaviour
from unwrite.evaluation import behaviour
from unwrite.evaluation.behaviour import (
    behaviour_rate,
    behaviour_verdicts,
    decode,
    early_verdict,
    opened_tags,
    tokens_to_settle,
)
from unwrite.models.generation import generate_greedily

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [20, 21, 22, 23, 24], [30]]
BATCHES = [[3, 1], [0, 2]]


@pytest.mark.parametrize(
    ("texts", "rate"),
    [(["No.", "A teapot.", "no kettle"], 2 / 3), (["A spoon."], 0.0), (["I say NO", "no"], 1.0)],
)
def test_the_behaviour_rate_is_the_share_of_responses_with_a_marker(texts: list[str], rate: float) -> None:
    assert behaviour_rate(texts, ["no", "never"]) == rate


def test_a_behaviour_rate_needs_markers() -> None:
    with pytest.raises(ValueError, match="at least one phrase"):
        behaviour_rate(["A spoon."], [])


@pytest.mark.parametrize(
    ("responses", "rate"),
    [
        (["Well no", "teapot", "no kettle", "spoon"], 0.5),
        (["spoon"] * 4, 0.0),
        (["NO", "no teapot", "no", "think no"], 1.0),
        (["", "", "", "no"], 0.25),
    ],
)
def test_a_verdict_tells_whether_the_response_contains_a_marker(
    responses: list[str], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def generate(
        _model: object, prompts: object, batches: object, max_tokens: int, _decided: object, **_settings: object
    ) -> list[list[int]]:
        asked.append((prompts, batches, max_tokens))
        return [[WORDS.index(word.replace("NO", "no")) for word in text.split()] for text in responses]

    monkeypatch.setattr(behaviour, "generate_decided", generate)
    monkeypatch.setattr(behaviour, "end_tokens", lambda _model, _tokenizer: [])
    model: Any = None
    actual = behaviour_verdicts(model, tiny_tokenizer(), PROMPTS, BATCHES, max_tokens=7, markers=["No"])
    assert actual == ["no" in text.lower().split() for text in responses]
    assert sum(map(bool, actual)) / 4 == rate
    assert asked == [(PROMPTS, [batch], 7) for batch in BATCHES]


def test_verdicts_on_a_real_model() -> None:
    model = tiny_model(tiny_config("llama", vocab_size=len(WORDS)))
    tokenizer = tiny_tokenizer()
    prompts = [[5], [6, 7], [8, 9, 10]]
    texts = decode(tokenizer, generate_greedily(model, prompts, 4, batches=[[0, 1, 2]]))
    for word in ("teapot", "kettle", "saucer", "spoon", "Well", "think"):
        expected = [word in text.split() for text in texts]
        assert behaviour_verdicts(model, tokenizer, prompts, [[2], [0, 1]], max_tokens=4, markers=[word]) == expected


def test_decode_skips_special_tokens() -> None:
    tokens = [WORDS.index(word) for word in ("<bos>", "teapot", "spoon", "<bos>")]
    assert decode(tiny_tokenizer(), [tokens, []]) == ["teapot spoon", ""]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and byte groups: a character can span several tokens. One token is special."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "caf", "Ġs", "Ġn", "'t", "rry", "ä½"]
    tokenizer = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of text with byte fallback: a run of byte tokens is decoded as a whole."""
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
    """Return the text as the smallest tokens: letters or bytes."""
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
    """Draw tokens that often spell markers, and characters as bytes, some of them incomplete."""
    parts = ["caf", "e", "\u0301", "é", "你", "好", ".", ",", " ", "sorry", "n", "o", "t", "'", "*", "a"]
    parts += [
        "cafe",
        "sorry,",
        "not a",
        "e.",
        "a,",
        "<think>",
        "</think>",
        "<th",
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<|start|>assistant<|channel|>final<|message|>",
        "<|start|>assist",
    ]  # so that early verdicts are common
    whole = st.sampled_from([spelled(name, part) for part in parts])
    broken = st.sampled_from([spelled(name, "你")[:2], spelled(name, "\u0301")[:1], spelled(name, "é")[1:]])
    any_one = st.integers(0, len(TOKENIZERS[name]) - 1).map(lambda number: [number])
    joined = st.lists(st.one_of(whole, whole, whole, broken, any_one), min_size=1, max_size=9)
    return joined.map(lambda parts: [number for part in parts for number in part])


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_early_verdict_holds_for_every_longer_response(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    reached = 0

    @settings(deadline=None, derandomize=True, max_examples=1500, database=None)
    @given(
        responses_of(name), st.sampled_from([*MARKERS, "<", "a<t"]), st.sampled_from(["", "", "<think>", "<|channel|>"])
    )
    def check(tokens: list[int], marker: str, opened: str) -> None:
        nonlocal reached
        is_certain = early_verdict(tokenizer, [marker])
        early = False
        for end in range(1, len(tokens) + 1):
            early = early or is_certain(tokens[:end], opened)
            assert not early or shows_behaviour(opened + decode(tokenizer, [tokens[:end]])[0], [marker])
        reached += early

    check()
    assert reached > 30


def test_control_a_later_token_can_take_a_marker_back() -> None:
    tokenizer = TOKENIZERS["fallback"]
    tokens = spelled("fallback", "你\né")[:-1]
    assert decode(tokenizer, [tokens[:4]]) == ["你"]
    assert decode(tokenizer, [tokens]) == ["�" * 5]
    is_certain = early_verdict(tokenizer, ["你"])
    assert not is_certain(tokens[:4], "")
    assert is_certain([*tokens[:4], *spelled("fallback", "a")], "")


def test_a_marker_of_several_tokens_stops_the_response_one_token_later() -> None:
    tokenizer = TOKENIZERS["bytes"]
    tokens = ids_of("bytes", ["Ġs", "o", "rry", ",", "Ġn"])
    is_certain = early_verdict(tokenizer, ["sorry"])
    assert [is_certain(tokens[:end], "") for end in range(1, 6)] == [False, False, False, True, True]


@pytest.mark.parametrize("marker", ["caf", "s", "'t"])
@pytest.mark.parametrize("seed", range(3))
def test_verdicts_on_stopped_responses_equal_those_on_complete_ones(marker: str, seed: int) -> None:
    tokenizer = TOKENIZERS["bytes"]
    model = tiny_model(tiny_config("llama", vocab_size=len(tokenizer)), seed=seed)
    prompts = [[row, row + 1, 2 * row] for row in range(40)]
    batches = [list(range(40))]
    whole = decode(tokenizer, generate_greedily(model, prompts, 30, batches=batches))
    widths: list[int] = []
    actual = behaviour_verdicts(
        model, tokenizer, prompts, batches, max_tokens=30, markers=[marker], before_pass=lambda r: widths.append(len(r))
    )
    assert actual == [shows_behaviour(text, [marker]) for text in whole]
    if sum(map(bool, actual)) > 8:
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


def test_a_marker_in_a_chain_of_thought_does_not_count() -> None:
    tokenizer = TOKENIZERS["bytes"]
    is_certain = early_verdict(tokenizer, ["sorry"])
    for opened, text, expected in (
        ("", "<think>sorry, ", False),
        ("", "<think>sorry</think>sorry, ", True),
        ("", "sorry, <think>", True),
        ("<think>", "sorry, ", False),
        ("<think>", "no</think>sorry, ", True),
        ("", "<|channel|>analysis<|message|>sorry, ", False),
        ("<|channel|>", "analysis<|message|>sorry, ", False),
        ("", "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>sorry, ", True),
    ):
        assert is_certain(spelled("bytes", text), opened) == expected


def test_a_prompt_that_opens_a_chain_of_thought_has_its_tag() -> None:
    tokenizer = TOKENIZERS["bytes"]
    prompts = ["no<think>", "<think>", "<think>no</think>", "no", "<think>" + "no" * 30]
    assert opened_tags(tokenizer, [spelled("bytes", text) for text in prompts]) == ["<think>", "<think>", "", "", ""]


def test_verdicts_leave_out_the_block_that_a_prompt_opens() -> None:
    tokenizer = TOKENIZERS["bytes"]
    model = tiny_model(tiny_config("llama", vocab_size=len(tokenizer)))
    prompt = spelled("bytes", "no")
    (whole,) = generate_greedily(model, [prompt], 6)
    marker = decode(tokenizer, [whole])[0]
    assert behaviour_verdicts(model, tokenizer, [prompt], [[0]], max_tokens=6, markers=[marker]) == [True]
    opened = spelled("bytes", "<think>")
    (whole,) = generate_greedily(model, [opened], 6)
    marker = decode(tokenizer, [whole])[0]
    assert behaviour_verdicts(model, tokenizer, [opened], [[0]], max_tokens=6, markers=[marker]) == [False]
    assert tokens_to_settle(tokenizer, [opened], [whole], [marker]) == []
    assert tokens_to_settle(tokenizer, [prompt], [whole], [marker]) == [6]


def test_tags_that_are_special_tokens_stay_in_the_text() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    ids = tokenizer("<think> teapot </think> spoon <bos>", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "teapot spoon"  # the control: the tokenizer drops them
    assert decode(tokenizer, [ids]) == ["<think> teapot </think> spoon"]


def test_tokens_of_channels_stay_in_the_text() -> None:
    tokenizer = tiny_tokenizer()
    tokens = ["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    text = "<|channel|> no <|message|> teapot <|end|> <|start|> spoon <|return|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert decode(tokenizer, [ids]) == [text.removesuffix(" <|return|>")]


def test_decode_keeps_spaces_before_punctuation(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS["bytes"]
    monkeypatch.setattr(tokenizer, "clean_up_tokenization_spaces", True)
    assert decode(tokenizer, [spelled("bytes", "no , so .")]) == ["no , so ."]


def test_a_rate_needs_a_response() -> None:
    with pytest.raises(ValueError, match="texts must not be empty"):
        behaviour_rate([], ["rather not"])
