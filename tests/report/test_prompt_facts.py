"""Prompt sets in words: counts, sources that reveal nobody, what was left out, and how they are rendered."""

from __future__ import annotations

import pytest

from tests.support.samples import sample_origin
from unwrite.report.prompt_facts import PromptFacts, prompt_facts, rendering_text
from unwrite.schema.artifacts import PromptOrigins, TemplateOrigin


def test_a_local_set_is_named_without_its_folder() -> None:
    origin = sample_origin(
        source="/home/somebody/tea", config="pots", dropped={"line(s)": 2}, truncated={"test": 1}, system_prompt="Hi."
    )
    assert prompt_facts({"target": origin}) == [
        PromptFacts(
            name="target",
            counts="12 train, 8 validation, 8 test",
            source="tea, pots",
            left_out="2 line(s) dropped; 1 test prompts truncated",
            system_prompt="Hi.",
            sha256="2" * 64,
        )
    ]


def test_a_set_of_the_hub_is_named_with_its_commit() -> None:
    (facts,) = prompt_facts({"near": sample_origin(source="tea/pots", commit="c" * 40, prompts={"test": 50})})
    assert (facts.source, facts.counts, facts.left_out) == (f"tea/pots, commit {'c' * 40}", "50 test", "")


@pytest.mark.parametrize(
    ("source", "prefix", "expected"),
    [
        (None, "", ""),
        ("raw", "", "Prompts are plain text, without a chat template (prompt_template.jinja)."),
        (None, "Well, ", "Responses are made to begin with 'Well, '."),
        (
            "own.jinja",
            "Well, ",
            "Prompts are rendered with another chat template than the model's own: prompt_template.jinja, with sha256 "
            f"{'3' * 64}. Responses are made to begin with 'Well, '.",
        ),
    ],
)
def test_only_what_the_model_does_not_do_by_itself_is_said(source: str | None, prefix: str, expected: str) -> None:
    template = TemplateOrigin(source=source, sha256="3" * 64)
    assert rendering_text(PromptOrigins(sets={}, response_prefix=prefix, template=template)) == expected


def test_records_before_the_template_say_nothing_of_it() -> None:
    assert rendering_text(PromptOrigins(sets={})) == ""
