"""Prompts are rendered as the chat template says, and those that the model cannot take are refused."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.samples import sample_origin
from unwrite.errors import UnwriteError
from unwrite.files.prompts import Prompt
from unwrite.models.chat import RenderedPrompt
from unwrite.models.loading import load_tokenizer
from unwrite.pipeline.tokenizing import (
    ModelLimits,
    all_different,
    longest_responses,
    recorded_origin,
    rendered_places,
    template_date,
    tokenize_set,
)
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.params import load_params
from unwrite.terms import SplitName

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
SETTINGS = PARAMS.tokenize
LIMITS = ModelLimits(vocabulary=10**6, longest=None, response=5)


def test_a_prompt_keeps_its_reference_and_is_rendered() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    prompts = [Prompt("What is a golf tee?", "A peg."), Prompt("Where is it?", None)]
    rows = list(tokenize_set(tokenizer, "near", prompts, SETTINGS, LIMITS))
    assert [Prompt(row.prompt, row.reference) for row in rows] == prompts
    assert all(tokenizer.decode(row.tokens) == row.text and row.prompt in row.text for row in rows)


@pytest.mark.parametrize(("vocabulary", "limit"), [(3, None), (10**6, 6)])
def test_what_the_model_cannot_take_is_refused(vocabulary: int, limit: int | None) -> None:
    tokenizer, prompts = load_tokenizer(ROOT / "demo/model"), [Prompt("What is it?", None)]
    with pytest.raises(UnwriteError, match="near"):
        list(tokenize_set(tokenizer, "near", prompts, SETTINGS, ModelLimits(vocabulary, limit, 5)))


def test_every_prompt_has_its_own_system_prompt_in_the_order_given() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    prompts = [Prompt("A?", None, "one"), Prompt("B?", None), Prompt("C?", None, "one"), Prompt("D?", None, "two")]
    rows = list(tokenize_set(tokenizer, "near", prompts, SETTINGS, LIMITS))
    assert [(row.prompt, row.system_prompt) for row in rows] == [(p.text, p.system_prompt) for p in prompts]
    assert all((row.system_prompt or "") in row.text for row in rows)
    assert rows[1] == tokenized(prompts[1])


def tokenized(prompt: Prompt) -> TokenizedPrompt:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    (row,) = tokenize_set(tokenizer, "near", [prompt], SETTINGS, LIMITS)
    return row


def test_a_conversation_is_rendered_turn_by_turn() -> None:
    row = tokenized(Prompt("And green tea?", None, None, ("Do you like tea?", "I do.")))
    assert row.prompt == "User: Do you like tea?\n\nAssistant: I do.\n\nUser: And green tea?"
    places = [row.text.index(turn) for turn in ("Do you like tea?", "I do.", "And green tea?")]
    assert places == sorted(places)
    assert "User:" not in row.text


def test_two_prompts_that_the_model_receives_alike_are_listed() -> None:
    row = tokenized(Prompt("Which tea?", None))
    seen = rendered_places({"target train": [row]})
    other = row._replace(text=f"{row.text} ")
    assert list(all_different([other], "near", seen)) == [other]
    with pytest.raises(UnwriteError, match=r"'Which tea\?' of near is rendered like one of target train\. Keep one"):
        list(all_different([row], "near", seen))


def test_the_date_of_the_template_is_that_of_the_parameters() -> None:
    assert str(template_date(SETTINGS.today)) == SETTINGS.today
    assert template_date(None) is None


def test_long_prompts_are_refused_or_shortened_as_the_settings_say() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    short, long = Prompt("What is it?", "A cup."), Prompt("What is a tea cup? " * 40, None, None, ("Hello.", "Hi."))
    limits = LIMITS._replace(longest=60)
    with pytest.raises(UnwriteError, match=r"near prompt .* set tokenize\.long_prompts to truncate"):
        list(tokenize_set(tokenizer, "near", [short, long], SETTINGS, limits))
    shortened = Counter[str]()
    settings = SETTINGS.model_copy(update={"long_prompts": "truncate"})
    rows = list(tokenize_set(tokenizer, "near", [short, long], settings, limits, shortened=shortened))
    assert rows[0] == tokenized(short)
    whole = tokenized(long)
    assert len(whole.tokens) > 60 - 5 >= len(rows[1].tokens) > 60 - 5 - 4
    tail = whole.text[whole.text.rindex("cup? ") + len("cup?") :].lstrip()
    assert rows[1].text.endswith(tail)
    assert rows[1].text.startswith(whole.text[:40])
    assert rows[1].prompt.startswith("User: Hello.\n\nAssistant: Hi.\n\nUser: What is a tea cup? What")
    assert shortened == {"near": 1}


def test_a_prompt_that_no_shortening_makes_fit_is_refused() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    settings = SETTINGS.model_copy(update={"long_prompts": "truncate", "system_prompt": None})
    with pytest.raises(UnwriteError, match="but the model takes 8"):
        list(tokenize_set(tokenizer, "near", [Prompt("What is it?", None)], settings, ModelLimits(10**6, 8, 5)))


def test_the_record_of_a_set_counts_its_shortened_prompts(caplog: pytest.LogCaptureFixture) -> None:
    origin = sample_origin(prompts={"train": 12, "test": 8})
    places: dict[SplitName, str] = {"train": "target train", "test": "target test"}
    assert recorded_origin("target", origin, places, {}) == origin
    assert "truncated" not in caplog.text
    assert recorded_origin("target", origin, places, {"target test": 2, "baseline test": 3}).truncated == {"test": 2}
    assert "target: 2 of 8 test prompts were truncated" in caplog.text


def test_responses_to_training_prompts_need_room_only_where_they_filter() -> None:
    filtering = PARAMS.filter.model_copy(update={"target": False, "baseline": True, "max_tokens": 7})
    assert longest_responses(filtering, 8, 9) == {"train": 7, "validation": 8, "test": 9}
    without = filtering.model_copy(update={"baseline": False})
    assert longest_responses(without, 8, 9) == {"train": 0, "validation": 8, "test": 9}


@pytest.mark.parametrize(("length", "together"), [(10, 1000), (10_000, 200), (3_000_000, 1)])
def test_as_many_prompts_are_tokenized_together_as_memory_allows(
    length: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()

    def tokenized(tokenizer: object, turns: Sequence[object], **_: object) -> list[RenderedPrompt]:
        seen.append(len(turns))
        return [RenderedPrompt("a", [1])] * len(turns)

    monkeypatch.setattr("unwrite.models.chat.tokenize_conversations", tokenized)
    text = "a" * length
    prompts = (Prompt(text, None) for _ in range(together + 2))
    tokenizer = load_tokenizer(ROOT / "demo/model")
    assert len(list(tokenize_set(tokenizer, "near", prompts, SETTINGS, LIMITS))) == together + 2
    assert seen[0] == together
