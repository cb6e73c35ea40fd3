"""The page of a comparison: both sides' figures next to each other, hostile names as text, absent parts left out."""

from __future__ import annotations

from html import unescape
from typing import Any

from tests.support.report_pages import pair, sample_evaluation, set_scores
from tests.support.sides import changed, recipe, side
from unwrite.history.diff import compare
from unwrite.report.comparison_page import compared_groups, comparison_page, edited_pairs
from unwrite.report.page_scripts import chart_library, page_script
from unwrite.schema.evaluation import Comparison, ModelScores

HOSTILE = "</script><script>alert(1)</script><img src=x>"


def page(comparison: dict[str, Any] | None = None, **changes: Any) -> str:
    known: dict[str, Any] = {
        "comparison": comparison or changed(parameters={"residuals.positions": [-2]}).model_dump(),
        "evaluations": (sample_evaluation(), sample_evaluation()),
        "pairs": [],
        "comparisons": [],
        "untested": [],
        "charts": {},
    }
    html = comparison_page(**(known | changes))
    for script in (chart_library(), page_script()):
        html = html.replace(f"<script>{script}</script>", "")
    return html


def test_figures_are_those_of_the_edited_models() -> None:
    a = sample_evaluation(edited=ModelScores(target=set_scores(0.25), baseline=set_scores(0.0)))
    b = sample_evaluation(edited=ModelScores(target=set_scores(0.125), baseline=set_scores(0.0)))
    (row, *_) = compared_groups(a, b)[0].rows
    assert (row.base.value, row.edited.value, row.comparison) == (0.25, 0.125, None)
    html = page(evaluations=(a, b))
    assert "25.0 %" in html
    assert "12.5 %" in html
    assert "(0.001–0.003)" in html  # the interval of the divergence


def test_rates_of_the_same_prompts_are_tested_and_others_say_why_not() -> None:
    tested = Comparison(
        prompts="target", figure="behaviour_rate", n=100, only_base=17, only_edited=3, p=0.003, p_adjusted=0.0123
    )
    html = page(comparisons=[tested], untested=["baseline: the prompts differ"])
    assert "Only A / only B" in html
    assert '<td class="number">17 / 3</td><td class="number">0.012</td>' in html
    assert "Holm's correction over all 1 comparisons" in unescape(html)
    assert "<li>baseline: the prompts differ.</li>" in html
    plain = page()
    assert "Only A / only B" not in plain
    assert "Not tested" not in plain


def test_a_side_without_an_evaluation_has_no_figures() -> None:
    assert compared_groups(None, sample_evaluation()) == []
    assert 'id="figures"' not in page(evaluations=(None, sample_evaluation()))


def test_differences_and_notes_are_listed() -> None:
    html = page()
    assert "<code>residuals.positions</code>" in html
    assert "Directions by residual index" in html
    none = compare(side(recipe=None, notes=["one has no edit.json"]), side("other", tensors=None))
    html = page(none.model_dump())
    assert "one has no edit.json." in html
    assert 'id="edits"' not in html
    assert 'id="directions"' not in html


def test_equal_sides_are_said_to_be_equal() -> None:
    assert "Directions, recipes and parameters are the same." in page(compare(side(), side("other")).model_dump())
    assert "The directions are the same" in page(changed(recipe=recipe(selection="by hand")).model_dump())


def test_responses_are_paired_by_prompt() -> None:
    a = [pair(1, "base", "one", prompt="What?"), pair(2, "base", "two", prompt="Where?", shown=(True, True))]
    b = [pair(1, "base", "three", prompt="Where?"), pair(2, "base", "four", prompt="Who?")]
    (both,) = edited_pairs(a, b)
    assert (both.base.text, both.edited.text, both.tags) == ("two", "three", ["removed"])
    html = page(pairs=[both])
    assert "shown by A alone (1)" in html
    assert edited_pairs(a, [pair(1, "x", "y", prompts="baseline", prompt="What?")]) == []


def test_hostile_text_is_text() -> None:
    comparison = compare(side(HOSTILE, notes=[HOSTILE]), side("other", parameters={HOSTILE: HOSTILE})).model_dump()
    html = page(comparison, pairs=[pair(1, HOSTILE, HOSTILE, prompt=HOSTILE)])
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 6
