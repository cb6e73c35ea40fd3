"""Stored responses are read with the prompts they answer, or refused; verdicts are read line by line."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import sample_verdict
from unwrite.errors import UnwriteError
from unwrite.files.records import write_jsonl
from unwrite.pipeline.responses import StoredResponse, read_responses, read_verdicts, responses_file
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.artifacts import as_json
from unwrite.schema.paths import RESPONSES, VERDICTS

PROMPTS = [TokenizedPrompt("What colour?", "Red.", "", [1]), TokenizedPrompt("How big?", None, "", [2])]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def store(*changes: dict[str, Any]) -> None:
    rows = [
        {"prompt": prompt.prompt, "reference": prompt.reference, "response": "Yes.", "tokens": 2, "cut": False} | change
        for prompt, change in zip(PROMPTS, changes, strict=False)
    ]
    RESPONSES.mkdir(parents=True, exist_ok=True)
    write_jsonl(responses_file("edited", "target"), rows)


def test_responses_are_read_in_the_order_of_their_prompts() -> None:
    store({}, {"cut": True})
    assert read_responses("edited", "target", PROMPTS) == [
        StoredResponse("What colour?", "Red.", "Yes.", 2, False),
        StoredResponse("How big?", None, "Yes.", 2, True),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{}], "must answer the 2 target prompts, got 1 responses. Run `dvc repro -f generate_responses`"),
        ([{}, {"prompt": "How old?"}], "line 2, must answer 'How big[?]', got a response to 'How old[?]'. Run"),
        ([{"reference": "Blue."}, {}], "line 1, must answer 'What colour[?]'"),
    ],
)
def test_responses_to_other_prompts_are_refused(changes: list[dict[str, Any]], message: str) -> None:
    store(*changes)
    with pytest.raises(UnwriteError, match=message):
        read_responses("edited", "target", PROMPTS)


def test_responses_that_one_model_lacks_are_named() -> None:
    store({}, {})
    with pytest.raises(UnwriteError, match=r"responses/base\.target\.jsonl"):
        read_responses("base", "target", PROMPTS)


def test_verdicts_are_read_back() -> None:
    verdicts = [sample_verdict(shown=True, marker="no", span=(0, 2)), sample_verdict()]
    VERDICTS.mkdir(parents=True)
    write_jsonl(responses_file("base", "baseline", VERDICTS), map(as_json, verdicts))
    assert read_verdicts("base", "baseline") == verdicts


def test_a_damaged_verdict_is_named_by_its_line() -> None:
    VERDICTS.mkdir(parents=True)
    write_jsonl(responses_file("base", "baseline", VERDICTS), [as_json(sample_verdict()), {"shown": True}])
    with pytest.raises(UnwriteError, match=r"base\.baseline\.jsonl, line 2, is not a valid verdict"):
        read_verdicts("base", "baseline")
