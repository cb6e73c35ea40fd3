"""The chat template is the model's own, plain text or a file's; what rendered the prompts renders everything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.chat.conftest import save_tiny
from tests.support.tiny import CHAT_TEMPLATE, tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.files.records import write_text
from unwrite.models.raw_template import RAW_TEMPLATE
from unwrite.pipeline.templates import (
    load_as_tokenized,
    load_with_template,
    named_template,
    origin_of_template,
    text_of_template,
)
from unwrite.schema.artifacts import TemplateOrigin
from unwrite.schema.paths import TEMPLATE, TOKENS

OTHER = "<bos> {{ messages[-1].content }} <reply> "


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with a template of its own, and another template."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.jinja").write_text(OTHER)
    return save_tiny(tmp_path / "model", seed=0)


@pytest.mark.parametrize(
    ("template", "expected"), [(None, CHAT_TEMPLATE), ("raw", RAW_TEMPLATE), ("other.jinja", OTHER)]
)
def test_a_tokenizer_has_the_template_that_the_parameters_name(template: str | None, expected: str) -> None:
    assert text_of_template(load_with_template(Path("model"), template)) == expected


def test_later_stages_use_the_template_that_rendered_the_prompts() -> None:
    with pytest.raises(UnwriteError, match="run `dvc repro tokenize_prompts` first"):
        load_as_tokenized(Path("model"))
    write_text(TOKENS / TEMPLATE, OTHER)
    assert load_as_tokenized(Path("model")).chat_template == OTHER


def test_a_file_that_is_no_template_is_one_line() -> None:
    Path("empty.jinja").write_text(" \n")
    with pytest.raises(UnwriteError, match=r"empty\.jinja is empty: tokenize\.template must name a chat template"):
        named_template("empty.jinja")
    with pytest.raises(UnwriteError, match=r"none\.jinja cannot be read .*must be null, raw or the path"):
        named_template("none.jinja")


@pytest.mark.parametrize("own", [None, {"tools": CHAT_TEMPLATE}])
def test_a_model_without_a_template_to_use_is_told_of_both_remedies(own: dict[str, str] | None) -> None:
    tokenizer = tiny_tokenizer()
    assert text_of_template(tokenizer) == CHAT_TEMPLATE
    tokenizer.chat_template = own
    with pytest.raises(
        UnwriteError, match=r"Set tokenize\.template to raw if .* or to the path of a template"
    ) as error:
        text_of_template(tokenizer)
    assert "\n" not in str(error.value)


def test_a_template_is_recorded_with_its_sum() -> None:
    expected = TemplateOrigin(source="other.jinja", sha256=hashlib.sha256(OTHER.encode()).hexdigest())
    assert origin_of_template("other.jinja", OTHER) == expected
