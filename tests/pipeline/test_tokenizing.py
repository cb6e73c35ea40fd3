"""Prompts are rendered as the chat template says, and those that the model cannot take are refused."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompts import Prompt
from unwrite.models.loading import load_tokenizer
from unwrite.pipeline.tokenizing import template_date, tokenize_set
from unwrite.schema.params import load_params

ROOT = Path(__file__).parents[2]
SETTINGS = load_params(ROOT / "params.yaml").tokenize


def test_a_prompt_keeps_its_reference_and_is_rendered() -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    prompts = [Prompt("What is a golf tee?", "A peg."), Prompt("Where is it?", None)]
    rows = tokenize_set(tokenizer, "near", prompts, SETTINGS, vocabulary=10**6, response=5, limit=None)
    assert [(row.prompt, row.reference) for row in rows] == prompts
    assert all(tokenizer.decode(row.tokens) == row.text and row.prompt in row.text for row in rows)


@pytest.mark.parametrize(("vocabulary", "limit"), [(3, None), (10**6, 6)])
def test_what_the_model_cannot_take_is_refused(vocabulary: int, limit: int | None) -> None:
    tokenizer = load_tokenizer(ROOT / "demo/model")
    with pytest.raises(UnwriteError, match="near"):
        tokenize_set(
            tokenizer, "near", [Prompt("What is it?", None)], SETTINGS, vocabulary=vocabulary, response=5, limit=limit
        )


def test_the_date_of_the_template_is_that_of_the_parameters() -> None:
    assert str(template_date(SETTINGS.today)) == SETTINGS.today
    assert template_date(None) is None
