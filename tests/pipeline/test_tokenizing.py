"""Prompts are rendered as the chat template says, and those that the model cannot take are refused."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompts import Prompt
from unwrite.models.loading import load_tokenizer
from unwrite.pipeline.tokenizing import all_different, rendered_places, template_date, tokenize_set
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.params import load_params

ROOT = Path(__file__).parents[2]
SETTINGS = load_params(ROOT / "params.yaml").tokenize


def test_a_prompt_keeps_its_reference_and_is_rendered() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    prompts = [Prompt("What is a golf tee?", "A peg."), Prompt("Where is it?", None)]
    rows = list(tokenize_set(tokenizer, "near", prompts, SETTINGS, vocabulary=10**6, response=5, limit=None))
    assert [Prompt(row.prompt, row.reference) for row in rows] == prompts
    assert all(tokenizer.decode(row.tokens) == row.text and row.prompt in row.text for row in rows)


@pytest.mark.parametrize(("vocabulary", "limit"), [(3, None), (10**6, 6)])
def test_what_the_model_cannot_take_is_refused(vocabulary: int, limit: int | None) -> None:
    tokenizer, prompts = load_tokenizer(ROOT / "demo/model"), [Prompt("What is it?", None)]
    with pytest.raises(UnwriteError, match="near"):
        list(tokenize_set(tokenizer, "near", prompts, SETTINGS, vocabulary=vocabulary, response=5, limit=limit))


def test_every_prompt_has_its_own_system_prompt_in_the_order_given() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    prompts = [Prompt("A?", None, "one"), Prompt("B?", None), Prompt("C?", None, "one"), Prompt("D?", None, "two")]
    rows = list(tokenize_set(tokenizer, "near", prompts, SETTINGS, vocabulary=10**6, response=5, limit=None))
    assert [(row.prompt, row.system_prompt) for row in rows] == [(p.text, p.system_prompt) for p in prompts]
    assert all((row.system_prompt or "") in row.text for row in rows)
    assert rows[1] == tokenized(prompts[1])


def tokenized(prompt: Prompt) -> TokenizedPrompt:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    (row,) = tokenize_set(tokenizer, "near", [prompt], SETTINGS, vocabulary=10**6, response=5, limit=None)
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
