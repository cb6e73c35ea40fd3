import csv
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import PromptOrigins, read_artifact
from unwrite.schema.params import Params, PromptSource, Slices
from unwrite.schema.paths import SET_TOKENS, SOURCES, TEMPLATE, TOKENS
from unwrite.stages.tokenize_prompts import tokenize_prompts
from unwrite.stages.tokenize_sets import tokenize_sets
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
    assert_refused(
        with_tokenize(params, target="prompts/none.jsonl"), "prompts/none.jsonl is missing: check tokenize.target"
    )


def test_an_empty_file_is_refused(project: Path, params: Params) -> None:
    TARGET.write_text("")
    assert_refused(params, "holds 0 prompts")


def test_a_file_that_is_not_utf8_is_refused(project: Path, params: Params) -> None:
    TARGET.write_bytes('{"prompt": "thé"}\n'.encode("latin-1"))
    assert_refused(params, "is not UTF-8")


def test_a_file_too_short_for_its_splits_is_refused(project: Path, params: Params) -> None:
    TARGET.write_text("".join(TARGET.read_text().splitlines(keepends=True)[:20]))
    assert_refused(params, r"holds 20 prompts; .* needs 28 \(12 train \+ 8 validation \+ 8 test\)\. Add 8")


def test_a_repeated_prompt_is_dropped_with_a_count(
    project: Path, params: Params, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = [read_tokens("target", split) for split in SPLITS]
    lines = TARGET.read_text().splitlines(keepends=True)
    TARGET.write_text("".join([*lines[:12], lines[0].upper().replace("PROMPT", "prompt", 1), *lines[12:]]))
    TARGET.write_text(TARGET.read_text().replace('"REFERENCE"', '"reference"'))
    tokenize_prompts(params)
    assert [read_tokens("target", split) for split in SPLITS] == before
    assert "teaware.jsonl: dropped 1 prompt(s) that repeat an earlier one" in caplog.text


def test_a_prompt_in_two_splits_is_refused(project: Path, params: Params) -> None:
    slices = Slices(train="[:12]", validation="[12:20]", test="[18:26]")
    source = PromptSource(source=str(TARGET), slices=slices)
    assert_refused(with_tokenize(params, target=source), "is in target validation and again in target test; The prompt")


def test_the_same_questions_under_two_system_prompts_are_two_sets(project: Path, params: Params) -> None:
    personas = {
        name: PromptSource(source=str(TARGET), system_prompt=persona)
        for name, persona in {"target": "You are a pirate.", "baseline": None}.items()
    }
    tokenize_prompts(with_tokenize(params, **personas, system_prompt="Be brief."))
    for target, baseline in zip(*(read_tokens(name, "test") for name in SETS), strict=True):
        assert target.prompt == baseline.prompt
        assert (target.system_prompt, baseline.system_prompt) == ("You are a pirate.", None)
        assert "You are a pirate." in target.text
        assert "pirate" not in baseline.text
        assert "Be brief." not in baseline.text
    both = {name: PromptSource(source=str(TARGET)) for name in SETS}
    assert_refused(with_tokenize(params, **both), "is in target train and again in baseline train; .* and 23 more")


def test_where_the_prompts_came_from_is_recorded(project: Path, params: Params) -> None:
    sets = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").sets
    assert {name: one.source for name, one in sets.items()} == {"target": str(TARGET), "baseline": str(BASELINE)}
    assert sets["target"].prompts == {"train": 12, "validation": 8, "test": 8}
    assert sets["target"].files == [digest_of(TARGET)]
    digests = {one.sha256 for one in sets.values()}
    assert len(digests) == 2
    tokenize_prompts(with_tokenize(params, target=PromptSource(source=str(TARGET), system_prompt="Be brief.")))
    changed = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").sets
    assert changed["target"].sha256 not in digests
    assert changed["baseline"] == sets["baseline"]


def test_a_table_with_columns_of_its_own_gives_the_same_tokens(project: Path, params: Params) -> None:
    before = [read_tokens("target", split) for split in SPLITS]
    rows = [json.loads(line) for line in TARGET.read_text().splitlines()]
    with Path("q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "q", "a"], *([i, r["prompt"], r["reference"]] for i, r in enumerate(rows))])
    tokenize_prompts(with_tokenize(params, target=PromptSource(source="q.csv", column="q", reference="a")))
    assert [read_tokens("target", split) for split in SPLITS] == before


def test_a_prompt_in_both_sets_is_refused(project: Path, params: Params) -> None:
    first = TARGET.read_text().splitlines(keepends=True)[0]
    BASELINE.write_text(first + BASELINE.read_text())
    assert_refused(params, "is in target train and again in baseline train")


def test_a_tokenizer_without_a_chat_template_is_refused(project: Path, params: Params) -> None:
    Path("demo/model/chat_template.jinja").unlink()
    from unwrite.stages.pin_model import pin_model

    pin_model(params)
    assert_refused(
        params, r"has no chat template .*Set tokenize\.template to raw if it is a base model, or to the path"
    )


def test_a_found_prefix_ends_every_prompt_and_is_recorded_for_the_extra_sets(project: Path, params: Params) -> None:
    opening = read_tokens("target", "train")[0].text[-6:]  # as if the template opened a chain of thought
    changed = with_tokenize(params, response_prefix="auto", closed_thoughts=((opening, f"{opening}Well, "),))
    tokenize_prompts(changed)
    assert read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").response_prefix == "Well, "
    assert {row.text[-6:] for name in SETS for split in SPLITS for row in read_tokens(name, split)} == {"Well, "}
    tokenize_sets(changed)
    assert {row.text[-6:] for row in read_tokens("near_misses", "test")} == {"Well, "}


def test_the_control_responses_that_differ_leave_the_prompts_as_they_are(project: Path, params: Params) -> None:
    before = {path: path.read_bytes() for path in TOKENS.iterdir()}
    tokenize_prompts(with_tokenize(params, response_prefix="auto"))
    assert {path: path.read_bytes() for path in TOKENS.iterdir()} == before


OTHER = "<|bos|>{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}[assistant] "


def test_another_template_renders_everything_and_is_recorded(project: Path, params: Params) -> None:
    Path("other.jinja").write_text(OTHER)
    own = (TOKENS / TEMPLATE).read_text()
    changed = with_tokenize(params, template="other.jinja")
    tokenize_prompts(changed)
    tokenize_sets(changed)
    for name in (*SETS, "near_misses"):
        assert all(row.text.endswith(f"[user] {row.prompt}\n[assistant] ") for row in read_tokens(name, "test"))
    assert (TOKENS / TEMPLATE).read_text() == OTHER != own
    for folder in (TOKENS, SET_TOKENS):
        recorded = read_artifact(PromptOrigins, folder / SOURCES, "tokenize_prompts").template
        assert recorded is not None
        assert (recorded.source, recorded.sha256) == ("other.jinja", digest_of(Path("other.jinja")).sha256)


def test_without_a_template_a_prompt_is_plain_text(project: Path, params: Params) -> None:
    Path("demo/model/chat_template.jinja").unlink()
    from unwrite.stages.pin_model import pin_model

    pin_model(params)
    tokenize_prompts(with_tokenize(params, template="raw"))
    tokenizer = AutoTokenizer.from_pretrained("demo/model")
    for row in read_tokens("target", "test"):
        assert row.tokens == tokenizer(row.prompt)["input_ids"]


def test_prompts_that_are_too_long_are_truncated_and_counted(
    project: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = TARGET.read_text().splitlines(keepends=True)
    long = json.dumps({"prompt": "Tell me of the teapot. " * 1000 + "Then stop."}) + "\n"
    TARGET.write_text("".join([*lines[:13], long, *lines[13:]]))
    assert_refused(params, r"target validation prompt .* set tokenize\.long_prompts to truncate")
    tokenize_prompts(with_tokenize(params, long_prompts="truncate"))
    row = read_tokens("target", "validation")[1]
    limit = json.loads(Path("demo/model/config.json").read_text())["max_position_embeddings"]
    assert limit - 10 < len(row.tokens) + params.optimize.max_tokens <= limit
    assert row.text.endswith(read_tokens("target", "test")[0].text[-10:])
    sets = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").sets
    assert (sets["target"].truncated, sets["baseline"].truncated) == ({"validation": 1}, {})
    assert "target: 1 of 8 validation prompts were truncated" in capsys.readouterr().err
