"""The extra sets are tokenized whole, as the test prompts are, and share no prompt with the splits."""

import json
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.pipeline.tokens import prompt_sets, read_tokens
from unwrite.schema.artifacts import PromptOrigins, read_artifact
from unwrite.schema.params import ExtraSet, Params, PromptSource, Slices
from unwrite.schema.paths import SET_TOKENS, SOURCES
from unwrite.stages.tokenize_sets import tokenize_sets


def with_extra_set(params: Params, prompts: str | PromptSource) -> Params:
    near = ExtraSet(prompts=prompts, markers=None)
    return params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"sets": {"near": near}})})


def test_an_extra_set_is_tokenized_as_the_test_prompts_are(project: Path, params: Params) -> None:
    Path("near.txt").write_text("Where does the tea tree grow?\nWhat is a golf tee?\n")
    tokenize_sets(with_extra_set(params, "near.txt"))
    rows = read_tokens("near", "test")
    assert [row.prompt for row in rows] == ["Where does the tea tree grow?", "What is a golf tee?"]
    known = read_tokens("target", "test")[0]
    assert rows[0].text == known.text.replace(known.prompt, rows[0].prompt)
    assert prompt_sets() == ["target", "baseline", "near"]


def test_without_extra_sets_the_folder_is_empty(project: Path, params: Params) -> None:
    tokenize_sets(params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"sets": {}})}))
    assert [path.name for path in SET_TOKENS.iterdir()] == [SOURCES]
    assert prompt_sets() == ["target", "baseline"]


def test_a_prompt_of_a_split_cannot_be_in_an_extra_set(project: Path, params: Params) -> None:
    used = json.loads(Path("prompts/ordinary.jsonl").read_text().splitlines()[0])["prompt"]
    Path("near.txt").write_text(f"What is a golf tee?\n{used.upper()}\n")
    before = sorted(SET_TOKENS.iterdir())
    for name, message in (
        ("near.txt", r"near\.txt, line 2: the prompt .* is also in baseline train"),
        ("far.txt", r"far\.txt"),
    ):
        with pytest.raises(UnwriteError, match=message):
            tokenize_sets(with_extra_set(params, name))
    assert sorted(SET_TOKENS.iterdir()) == before


def test_an_extra_set_has_a_system_prompt_of_its_own(project: Path, params: Params) -> None:
    source = PromptSource(
        source="prompts/ordinary.jsonl", system_prompt="You are a pirate.", slices=Slices(test="[:3]")
    )
    tokenize_sets(with_extra_set(params, source))  # questions of the baseline, which the system prompt makes others
    rows = read_tokens("near", "test")
    assert len(rows) == 3
    assert all("You are a pirate." in row.text and row.system_prompt == "You are a pirate." for row in rows)
    sets = read_artifact(PromptOrigins, SET_TOKENS / SOURCES, "tokenize_sets").sets
    assert (sets["near"].prompts, sets["near"].system_prompt) == ({"test": 3}, "You are a pirate.")
