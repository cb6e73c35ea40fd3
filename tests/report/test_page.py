"""The page: hostile text stays text, long text stays reachable, absent figures stay away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.support.samples import sample_trial
from unwrite.report.page import EXAMPLES, SHORTENED, Example, Plots, first_examples, report_page
from unwrite.schema.artifacts import Base, Front, Norm, Recipe, Trial
from unwrite.schema.evaluation import Evaluation

HOSTILE = '</span></td><script>alert("x")</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}'
Page = Callable[..., str]


@pytest.fixture
def page(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front, trials: list[Trial]) -> Page:
    """The page, with anything replaced by name."""

    def build(rows: Sequence[Example] = (Example("What?", "Sorry.", "Glass.", "Glass."),), **changes: object) -> str:
        known: dict[str, object] = {
            "behaviour": "declines questions about tea",
            "base": base,
            "recipe": recipe,
            "evaluation": evaluation,
            "front": front,
            "trials": trials,
            "stopped": 0,
            "examples": {"target": rows, "baseline": rows},
            "plots": Plots(*["<svg></svg>"] * 4),
            "versions": {"Python": "3.12.0", "unwrite": "0.2.0"},
        }
        return report_page(**(known | changes))  # type: ignore[arg-type]

    return build


@pytest.mark.parametrize("place", range(4))
def test_hostile_examples_are_shown_as_text(page: Page, place: int) -> None:
    fields = ["a", "b", "c", "d"]
    fields[place] = HOSTILE
    html = page([Example(*fields)])
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html


def test_hostile_words_of_artifacts_are_shown_as_text(page: Page, base: Base, recipe: Recipe) -> None:
    html = page(
        behaviour=HOSTILE,
        base=base.model_copy(update={"source": HOSTILE, "architecture": HOSTILE}),
        recipe=recipe.model_copy(update={"selection": HOSTILE}),
    )
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_long_response_is_shortened_and_can_be_unfolded(page: Page) -> None:
    long = "word " * 1000 + "end"
    html = page([Example("What?", "Sorry.", long, None)])
    assert f"{long[:SHORTENED]}…</span>" in html
    assert f">{long}</div></details>" in html
    assert "all 5,003 characters" in html
    exact = "x" * SHORTENED
    assert f">{exact}</span>" in page([Example("What?", "Sorry.", exact, None)])


def test_empty_response_is_marked(page: Page) -> None:
    assert page([Example("What?", "Sorry.", " \n", "Glass.")]).count("(empty)") == 2


def test_without_references_there_is_neither_column_nor_figure(page: Page, evaluation: Evaluation) -> None:
    rows = [Example("What?", "Sorry.", "Glass.", None)]
    html = page(rows)
    assert 'data-label="Reference"' not in html
    assert 'data-label="Reference"' in page([*rows, Example("And?", "Sorry.", "Glass.", "Glass.")])
    bare = {
        which: getattr(evaluation, which).model_copy(
            update={
                name: getattr(getattr(evaluation, which), name).model_copy(update={"reference_accuracy": None})
                for name in ("target", "baseline")
            }
        )
        for which in ("base", "edited")
    }
    assert "eference accuracy" not in page(
        rows, evaluation=evaluation.model_copy(update={**bare, "reference_ceiling": None})
    )


def test_ceiling_is_shown_only_if_known(page: Page, evaluation: Evaluation) -> None:
    assert "ceiling 99.0 %" in page()
    assert "ceiling" not in page(evaluation=evaluation.model_copy(update={"reference_ceiling": None}))
    assert "ceiling 0.0 %" in page(evaluation=evaluation.model_copy(update={"reference_ceiling": 0.0}))


def test_both_splits_are_shown_side_by_side(page: Page) -> None:
    html = page()
    assert "98.0 %" in html  # base model, validation
    assert "2.0 %" in html  # trial 1, validation
    assert "1.0 % (0.2–5.4, n = 100)" in html


def test_best_one_shot_setting_is_stated(page: Page, front: Front) -> None:
    assert "one-shot" not in page()
    html = page(front=front.model_copy(update={"one_shot": sample_trial(4, 0.03, 0.0125)}))
    assert "trial 4: behaviour rate 3.0 %, divergence 0.0125 nats" in html


def test_unedited_writers_are_stated(page: Page, base: Base) -> None:
    assert "Not edited" not in page()
    html = page(base=base.model_copy(update={"incomplete": ["layer 2: the residual itself is normed", HOSTILE]}))
    assert "<strong>Not edited</strong>" in html
    assert "<li>layer 2: the residual itself is normed</li>" in html
    assert "<script" not in html


def test_treatment_of_norms_is_stated(page: Page, base: Base) -> None:
    assert "norm follows" not in page()
    norms = [Norm(parameter="n", tensor="n", offset=0.0)]
    writers = [writer.model_copy(update={"norms": norms}) for writer in base.writers]
    assert "A norm follows 6 of the edited parameters, and its scale was ignored" in page(
        base=base.model_copy(update={"writers": writers})
    )


def test_local_path_is_not_shown(page: Page, base: Base) -> None:
    html = page(base=base.model_copy(update={"source": "/home/someone/models/small", "commit": None}))
    assert "someone" not in html
    assert "small" in html


def test_examples_are_the_first_of_the_file() -> None:
    rows = [{"prompt": str(i), "reference": None, "response": f"r{i}"} for i in range(EXAMPLES + 5)]
    examples = first_examples(rows, [row | {"response": "e"} for row in rows])
    assert [example.prompt for example in examples] == [str(i) for i in range(EXAMPLES)]
    assert examples[3] == Example("3", "r3", "e", None)
    assert len(first_examples(rows[:2], rows[:2])) == 2


def test_stopped_trials_are_counted(page: Page, trials: list[Trial]) -> None:
    assert "were stopped" not in page()
    html = page(stopped=7)
    assert "7 trials were stopped when they could no longer be chosen" in html
    assert f"of {len(trials) + 7} tried" in html
