import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from unwrite.errors import UnwriteError
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.params import Params
from unwrite.stages.tokenize_prompts import tokenize_prompts
from unwrite.terms import SETS, SPLITS

TARGET = Path("prompts/teaware.jsonl")
BASELINE = Path("prompts/ordinary.jsonl")


def with_tokenize(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"tokenize": params.tokenize.model_copy(update=changes)})


def assert_refused(params: Params, match: str) -> None:
    before = sorted(Path("artifacts/tokens").iterdir())
    with pytest.raises(UnwriteError, match=match):
        tokenize_prompts(params)
    assert sorted(Path("artifacts/tokens").iterdir()) == before


def test_tokens_are_those_of_the_chat_template(project: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained("demo/model")
    for name in SETS:
        for split in SPLITS:
            for row in read_tokens(name, split):
                message = [{"role": "user", "content": row.prompt}]
                encoded: Any = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
                assert row.tokens == encoded["input_ids"]
                assert tokenizer.decode(row.tokens) == row.text


def test_splits_are_cut_from_the_top_in_order(project: Path, params: Params) -> None:
    prompts = [json.loads(line)["prompt"] for line in TARGET.read_text().splitlines()]
    cut = [row.prompt for split in SPLITS for row in read_tokens("target", split)]
    assert cut == prompts[: len(cut)]
    assert [len(read_tokens("target", split)) for split in SPLITS] == [12, 8, 8]


def test_response_prefix_and_system_prompt_are_rendered(project: Path, params: Params) -> None:
    tokenize_prompts(with_tokenize(params, response_prefix="Well, ", system_prompt="Be brief."))
    row = read_tokens("target", "test")[0]
    assert row.text.endswith("Well, ")
    assert "Be brief." in row.text


def test_a_missing_file_is_refused(project: Path, params: Params) -> None:
    assert_refused(with_tokenize(params, target="prompts/none.jsonl"), "prompts/none.jsonl cannot be read")


def test_an_empty_file_is_refused(project: Path, params: Params) -> None:
    TARGET.write_text("")
    assert_refused(params, "holds no prompt")


def test_a_file_that_is_not_utf8_is_refused(project: Path, params: Params) -> None:
    TARGET.write_bytes('{"prompt": "thé"}\n'.encode("latin-1"))
    assert_refused(params, "is not UTF-8")


def test_a_file_too_short_for_its_splits_is_refused(project: Path, params: Params) -> None:
    TARGET.write_text("".join(TARGET.read_text().splitlines(keepends=True)[:20]))
    assert_refused(params, r"holds 20 prompts; .* needs 28 \(12 train \+ 8 validation \+ 8 test\)\. Add 8")


def test_a_prompt_in_two_splits_is_refused(project: Path, params: Params) -> None:
    lines = TARGET.read_text().splitlines(keepends=True)
    TARGET.write_text("".join([*lines[:12], lines[0], *lines[12:]]))
    assert_refused(params, "is in target train and again in target validation")


def test_a_prompt_in_both_sets_is_refused(project: Path, params: Params) -> None:
    first = TARGET.read_text().splitlines(keepends=True)[0]
    BASELINE.write_text(first + BASELINE.read_text())
    assert_refused(params, "is in target train and again in baseline train")


def test_a_tokenizer_without_a_chat_template_is_refused(project: Path, params: Params) -> None:
    Path("demo/model/chat_template.jinja").unlink()
    from unwrite.stages.pin_model import pin_model

    pin_model(params)
    assert_refused(params, "has no chat template")
