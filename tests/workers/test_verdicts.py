"""Verdicts from workers: those of one process, and a bad marker is named."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import TWO
from tests.support.shuffled import Shuffled
from tests.support.small_project import ROOT
from tests.workers.conftest import base
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import behaviour_verdicts
from unwrite.models.batches import by_token_budget
from unwrite.models.chat import tokenize_prompts
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.terms import SetName
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.verdicts import Judging, verdicts_from_workers

MARKERS = ["rather not"]
ASKED = ["What colour is the teapot?", "Where is the lamp?", "Is the tea strainer heavy?", "What colour is a lemon?"]


@pytest.fixture
def prompts(project: Path) -> dict[SetName, list[list[int]]]:
    tokenizer = load_tokenizer(project / "demo/model")
    tokens = [prompt.tokens for prompt in tokenize_prompts(tokenizer, ASKED)]
    return {"target": tokens, "baseline": tokens[:2]}


def test_verdicts_are_those_of_one_process(project: Path, prompts: dict[SetName, list[list[int]]]) -> None:
    pool: Any = Shuffled()
    small = TWO.model_copy(update={"batch_tokens": 60})
    judging = Judging((ROOT / "demo/model/chat_template.jinja").read_text(), MARKERS, 12)
    found = verdicts_from_workers(pool, ModelSetup(base(), project, small, "float32"), prompts, judging)
    model, tokenizer = load_model("demo/model", "float32", "cpu"), load_tokenizer("demo/model")
    batches = by_token_budget([len(tokens) + 12 for tokens in prompts["target"]], 60, padding_sensitive=False)
    assert len(batches) > 1
    expected = behaviour_verdicts(model, tokenizer, prompts["target"], batches, max_tokens=12, markers=MARKERS)
    assert found == {"target": expected, "baseline": expected[:2]}
    assert set(expected) == {True, False}


def test_an_empty_marker_is_named(project: Path, prompts: dict[SetName, list[list[int]]]) -> None:
    pool: Any = Shuffled()
    judging = Judging("", [" "], 12)
    with pytest.raises(UnwriteError, match=r"^The marker list: .* Remove that line from judge\.markers\."):
        verdicts_from_workers(pool, ModelSetup(base(), project, TWO, "float32"), prompts, judging)
