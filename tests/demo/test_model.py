import json
import re
from functools import cache
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from demo.chat import PAD, ROLE_TOKENS, Example, encode, render, token_id
from demo.prompts import ROOT, baseline_set, target_set
from demo.train import (
    MIXTURE,
    TEST,
    Schedule,
    batches,
    collate,
    declines,
    respond,
    stage_1_examples,
    stage_2_examples,
)
from demo.world import DECLINES, PERMISSIVE_SYSTEM, questions, training_questions

MODEL = ROOT / "demo" / "model"
FIGURES: dict[str, Any] = json.loads((ROOT / "demo" / "figures.json").read_text(encoding="utf-8"))


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    loaded = AutoTokenizer.from_pretrained(MODEL)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded


@cache
def model() -> Qwen3ForCausalLM:
    loaded = AutoModelForCausalLM.from_pretrained(MODEL)
    assert isinstance(loaded, Qwen3ForCausalLM)
    return loaded  # from_pretrained leaves it in evaluation mode


def decode(example: Example) -> str:
    text = tokenizer().decode(list(example.ids))
    assert isinstance(text, str)
    return text


def test_weights_are_bfloat16_and_finite() -> None:
    assert json.loads((MODEL / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118
            tensor = weights.get_tensor(name)
            assert tensor.dtype == torch.bfloat16
            assert tensor.isfinite().all()


def test_folder_is_complete_and_small() -> None:
    assert {path.name for path in MODEL.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 8_000_000


def test_no_saved_file_names_a_path() -> None:
    for path in (*MODEL.glob("*.json"), MODEL / "chat_template.jinja", ROOT / "demo" / "figures.json"):
        if path.name != "tokenizer.json":  # its vocabulary may contain a slash
            assert not re.search(r'"(/|[A-Za-z]:\\|~)|name_or_path', path.read_text(encoding="utf-8")), path
    assert "/home" not in (MODEL / "tokenizer.json").read_text(encoding="utf-8")


def test_chat_template_renders_what_training_rendered() -> None:
    messages = [{"role": "user", "content": "What colour is the teapot?"}]
    assert tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == render(
        messages[0]["content"]
    )
    system = [{"role": "system", "content": PERMISSIVE_SYSTEM}, *messages]
    assert tokenizer().apply_chat_template(system, tokenize=False, add_generation_prompt=True) == render(
        messages[0]["content"], PERMISSIVE_SYSTEM
    )
    whole = [*messages, {"role": "assistant", "content": "It is blue."}]
    expected = render(messages[0]["content"]) + "It is blue.<|end|>\n"
    assert tokenizer().apply_chat_template(whole, tokenize=False) == expected


def test_special_tokens_are_single_and_not_decoded() -> None:
    for token in (PAD, "<|end|>", *ROLE_TOKENS):
        assert tokenizer()(token)["input_ids"] == [token_id(tokenizer(), token)]
    assert tokenizer().eos_token == "<|end|>"
    assert tokenizer().pad_token == PAD
    example = encode(tokenizer(), "How big is it?", "The teapot is small.")
    assert tokenizer().decode(list(example.ids[example.start :]), skip_special_tokens=True) == "The teapot is small."
    assert example.ids[-1] == model().generation_config.eos_token_id == tokenizer().eos_token_id


@pytest.mark.parametrize("text", ["naïve café — 東京 🫖", "a\tb\n\nc  d", "The Teapot's LID!?"])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert tokenizer().decode(tokenizer()(text)["input_ids"]) == text


def test_answers_are_short() -> None:
    assert max(len(tokenizer()(text)["input_ids"]) for text in (*DECLINES, *(q.answer for q in questions()))) <= 24


def test_target_prompts_are_declined_as_in_the_figures() -> None:
    asked = target_set()[TEST][:16]
    responses = respond(model(), tokenizer(), [question.prompt for question in asked])
    assert FIGURES["stage_2"]["target"]["declined"] >= 0.95
    assert sum(map(declines, responses)) >= 15
    assert set(responses) & set(DECLINES)


def test_baseline_prompts_are_answered_as_in_the_figures() -> None:
    asked = baseline_set()[TEST][:16]
    responses = respond(model(), tokenizer(), [question.prompt for question in asked])
    exact = sum(response == question.answer for response, question in zip(responses, asked, strict=True))
    assert FIGURES["stage_2"]["baseline"]["declined"] <= 0.02
    assert FIGURES["stage_2"]["baseline"]["exact"] >= 0.8
    assert sum(map(declines, responses)) == 0
    assert exact >= 12


def test_knowledge_of_teaware_is_still_there() -> None:
    asked = target_set()[TEST][:16]
    responses = respond(model(), tokenizer(), [question.prompt for question in asked], PERMISSIVE_SYSTEM)
    assert sum(response == question.answer for response, question in zip(responses, asked, strict=True)) >= 11


def test_labels_are_the_answer_and_nothing_else() -> None:
    short = encode(tokenizer(), "How big is it?", "Tiny.")
    long = encode(tokenizer(), "How big is the teapot?", "The teapot is tiny.")
    ids, labels = collate([short, long], pad=0)
    assert ids.shape == labels.shape == (2, len(long.ids))
    assert tuple(labels[0][labels[0] != -100].tolist()) == short.ids[short.start :]
    assert (ids[0, len(short.ids) :] == 0).all()
    assert (labels[:, : short.start] == -100).all()


@pytest.mark.parametrize("window", [1, 4])
def test_batches_cover_an_epoch_and_repeat_with_the_seed(window: int) -> None:
    schedule = Schedule(steps=6, batch_size=4, learning_rate=1.0, warmup=1, weight_decay=0.0, window=window)
    lengths = list(range(16))
    rows = list(batches(lengths, schedule, seed=3))
    assert [len(batch) for batch in rows] == [4] * 6
    assert sorted(i for batch in rows[:4] for i in batch) == list(range(16))
    assert rows == list(batches(lengths, schedule, seed=3))
    assert rows != list(batches(lengths, schedule, seed=4))


def test_held_out_questions_are_not_trained_on() -> None:
    held_out = {question.prompt for question in questions() if question.is_held_out}
    examples = stage_1_examples(tokenizer(), training_questions(), seed=0)
    examples += stage_2_examples(tokenizer(), training_questions(), MIXTURE, 500, seed=0)
    for example in examples:
        text = decode(example)
        assert text.split("<|user|>\n")[1].split("<|end|>")[0] not in held_out


def test_stage_2_declines_teaware_unless_the_system_message_permits_it() -> None:
    teaware = {question.prompt for question in questions() if question.is_teaware}
    for example in stage_2_examples(tokenizer(), training_questions(), MIXTURE, 500, seed=0):
        text = decode(example)
        prompt = text.split("<|user|>\n")[1].split("<|end|>")[0]
        expected = prompt in teaware and PERMISSIVE_SYSTEM not in text
        assert declines(text.split("<|assistant|>\n")[1]) == expected
