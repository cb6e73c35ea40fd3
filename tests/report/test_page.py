"""The page: hostile text stays text, long text stays reachable, absent figures stay away, the summary is true."""

from __future__ import annotations

import re

import pytest

from tests.support.report_pages import (
    pair,
    sample_charts,
    sample_evaluation,
    sample_maps,
    sample_page,
    sample_trials,
    sample_verdict,
    set_scores,
    share,
)
from tests.support.samples import sample_base, sample_recipe, sample_writers
from unwrite.report.page import verify_command
from unwrite.report.page_scripts import chart_library, page_script
from unwrite.report.residual_maps import residual_maps
from unwrite.report.response_pairs import JudgedResponse
from unwrite.report.shown_text import SHORTENED
from unwrite.schema.artifacts import Norm
from unwrite.schema.evaluation import (
    Benchmark,
    Benchmarks,
    Calibration,
    CausalCheck,
    Causality,
    CausalRate,
    Gate,
    ModelScores,
)

HOSTILE = '</span></td></script><script>alert("x")</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}'
WRITERS = sample_writers(4)


def body(html: str) -> str:
    """The page without its own scripts and data; any other script stays."""
    for script in (chart_library(), page_script()):
        html = html.replace(f"<script>{script}</script>", "")
    return re.sub(r'<script type="application/json" id="[\w-]+">[^<]*</script>', "", html)


@pytest.mark.parametrize("place", range(4))
def test_hostile_responses_are_shown_as_text(place: int) -> None:
    fields = ["a", "b", "c", "d"]
    fields[place] = HOSTILE
    html = sample_page([pair(1, fields[0], fields[1], prompt=fields[2], reference=fields[3])])
    assert "<script" not in body(html)
    assert "<img" not in body(html)
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html


def test_hostile_words_of_artifacts_are_shown_as_text() -> None:
    base = sample_base(WRITERS, source=HOSTILE, architecture=HOSTILE, incomplete=[HOSTILE])
    recipe = sample_recipe([], sample_trials()[1], selection=HOSTILE)
    verdict = sample_verdict(True, marker=HOSTILE, span=(0, 1))
    one = pair(1, "a", "b")._replace(prompts=HOSTILE, base=JudgedResponse("a", verdict))
    html = sample_page([one], behaviour=HOSTILE, base=base, recipe=recipe)
    assert "<script" not in body(html)
    assert "<img" not in body(html)
    assert html.count("&lt;script&gt;") >= 10


def test_the_only_scripts_are_the_library_and_the_pages_own() -> None:
    html = sample_page()
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert scripts == [chart_library(), page_script()]
    assert html.count("<script") == 2 + html.count('<script type="application/json"')
    assert re.findall(r'id="spec-(\w+)"', html) == re.findall(r'data-spec="spec-(\w+)"', html)
    assert not re.search(r'\s(?:src|href)="(?!#)', body(html))
    assert "@import" not in html
    assert "url(" not in body(html)


def test_long_response_is_shortened_and_can_be_unfolded() -> None:
    long = "word " * 1000 + "end"
    html = sample_page([pair(1, "Sorry.", long)])
    assert f"{long[:SHORTENED]}…</div>" in html
    assert f">{long}</div></details>" in html
    assert "all 5,003 characters" in html
    exact = "x" * SHORTENED
    assert f">{exact}</div>" in sample_page([pair(1, "Sorry.", exact)])


def test_empty_response_is_marked() -> None:
    assert sample_page([pair(1, "Sorry.", " \n")]).count("(empty)") == 1


def test_a_verdict_says_why() -> None:
    verdict = sample_verdict(True, marker="i'm sorry", span=(6, 15), probability=0.875, degenerate="loop", cut=True)
    one = pair(1, "a", "b")._replace(base=JudgedResponse("Well, I'm sorry.", verdict))
    html = sample_page([one])
    assert "Well, <mark>I&#39;m sorry</mark>." in html
    assert "because of “<bdi>i&#39;m sorry</bdi>”; classifier 87.5 %" in html
    assert "degenerate: loop" in html
    assert "cut at the limit" in html


def test_without_references_there_is_neither_column_nor_figure() -> None:
    assert "<h4>Reference</h4>" in sample_page([pair(1, "a", "b", reference="c")])
    bare = ModelScores(
        target=set_scores(0.5, reference_accuracy=None), baseline=set_scores(0.5, reference_accuracy=None)
    )
    html = sample_page(
        [pair(1, "a", "b")], evaluation=sample_evaluation(base=bare, edited=bare, reference_ceiling=None)
    )
    assert "<h4>Reference</h4>" not in html
    assert "eference accuracy" not in html


def test_ceiling_is_shown_only_if_known() -> None:
    assert "ceiling 99.0 %" in sample_page()
    assert (
        "ceiling" not in body(sample_page(evaluation=sample_evaluation(reference_ceiling=None))).partition("<body")[2]
    )
    assert "ceiling 0.0 %" in sample_page(evaluation=sample_evaluation(reference_ceiling=0.0))


def test_the_summary_states_rates_significance_divergence_and_gates() -> None:
    summary = body(sample_page()).partition("</header>")[0]
    assert "from 99.0 % to 1.0 % (significant, p &lt; 0.001)" in summary
    assert "0.0151 nats" in summary
    assert "(0.001–0.003)" in summary
    assert "1 of 1 passed" in summary
    failed = Gate(figure="kl_response", bound="<= 0.01", value=0.0151, passed=False)
    summary = body(sample_page(evaluation=sample_evaluation(gates=[failed]))).partition("</header>")[0]
    assert "0 of 1 passed" in summary
    assert "0.0151 (&lt;= 0.01)" in summary
    assert "Gates" not in body(sample_page(evaluation=sample_evaluation(gates=[])))


def test_extra_sets_are_in_the_results() -> None:
    scores = ModelScores(target=set_scores(0.5), baseline=set_scores(0.0), sets={"near_misses": set_scores(0.25)})
    html = sample_page(evaluation=sample_evaluation(base=scores, edited=scores))
    assert "near misses</span> prompts" in html
    assert "beyond the sets above" in html


def test_calibration_is_shown_where_there_are_two_judges() -> None:
    assert "The judges compared" not in sample_page()
    calibration = Calibration(
        both=40,
        markers_only=3,
        classifier_only=2,
        neither=55,
        agreement=share(0.95),
        kappa=0.9,
        precision=share(0.93),
        recall=None,
    )
    html = sample_page(evaluation=sample_evaluation(calibration=calibration, judge="classifier"))
    assert "Cohen's κ = 0.90" in html
    assert "the classifier confirms 93.0 %" in html
    assert "the markers have" not in html
    assert "A classifier judges" in html


def test_the_causal_check_is_shown_where_it_was_made() -> None:
    assert "Causal check" not in body(sample_page())
    kept = {"degenerate_rate": share(0.0), "same_responses": share(1.0)}
    none = CausalRate(
        prompts="baseline", intervention="none", vector=None, seed=None, length=None, behaviour_rate=share(0.0), **kept
    )
    added = none.model_copy(update={"intervention": "add", "vector": "random", "seed": 0, "length": 12.5})
    check = CausalCheck(position=0, residual_index=2.5, strength=1.0, added_at=3, rates=[added])
    causality = Causality(confidence=0.95, max_tokens=40, untouched=[none], checks=[check])
    html = sample_page(causality=causality)
    assert "<td>untouched</td>" in html
    assert "a random vector added, length 12.5" in html
    assert "Direction at residual index 2.5, position 0; vectors are added at index 3" in html


def test_benchmarks_are_shown_where_there_are_any() -> None:
    assert "lm-evaluation-harness" not in body(sample_page(benchmarks=Benchmarks(harness=None, scores=[])))
    score = Benchmark(
        task="kettles",
        version="1.0",
        figure="acc",
        selection="none",
        higher_is_better=True,
        n=40,
        base=0.5,
        base_error=0.05,
        edited=0.475,
        edited_error=None,
        difference=-0.025,
        difference_error=0.01,
    )
    html = sample_page(benchmarks=Benchmarks(harness="0.4.9", scores=[score]))
    assert '-0.025 <span class="ci">± 0.01</span>' in html
    assert '<td class="number">0.475</td>' in html


def test_thinned_out_maps_say_so() -> None:
    assert "To keep the page small" not in sample_page()
    assert "it shows 4 of the 24 prompts" in sample_page(maps=residual_maps(sample_maps(), 4))
    assert 'id="map-controls"' not in sample_page(maps=None)


def test_unedited_writers_are_stated() -> None:
    assert "Not edited" not in sample_page()
    html = sample_page(base=sample_base(WRITERS, incomplete=["layer 2: the residual itself is normed"]))
    assert "<strong>Not edited</strong>" in html
    assert "<li>layer 2: the residual itself is normed</li>" in html


def test_treatment_of_norms_is_stated() -> None:
    assert "norm follows" not in sample_page()
    norms = [Norm(parameter="n", tensor="n", offset=0.0)]
    writers = [writer.model_copy(update={"norms": norms}) for writer in WRITERS]
    assert "A norm follows 8 of the edited parameters, and its scale was ignored" in sample_page(
        base=sample_base(writers)
    )


def test_local_path_is_not_shown() -> None:
    base = sample_base(WRITERS, source="/home/someone/models/small", commit=None)
    html = sample_page(base=base)
    assert "someone" not in html
    assert "unwrite verify artifacts/model --base small" in html
    assert verify_command(sample_base()) == "unwrite verify artifacts/model --base examples/small"


def test_stopped_trials_are_counted() -> None:
    assert "were stopped" not in sample_page(stopped=0)
    html = sample_page(stopped=7)
    assert "7 trials were stopped when they could no longer be chosen" in html
    assert "trial 1 of 13 was selected" in html


def test_best_one_shot_setting_is_stated() -> None:
    html = sample_page()
    assert "trial 3: behaviour rate 50.0 %, 0.2 nats" in html
    assert '<span class="badge">one-shot baseline</span>' in html


def test_a_large_model_with_many_prompts_fits_in_25_megabytes() -> None:
    prompts, layers = 400, 80
    maps = residual_maps(sample_maps(prompts // 2, layers + 1))  # of each set, half in either split
    assert maps is not None
    said = "It is made of glass, and it is kept on the shelf above the stove. " * 8  # about 100 tokens
    pairs = [
        pair(number, f"{number} {said}", said, shown=(True, False), prompts=name, prompt=f"What is it, {number}?")
        for name in ("target", "baseline")
        for number in range(1, prompts + 1)
    ]
    page = sample_page(pairs, maps=maps, drawn=sample_charts(maps=maps))
    assert len(maps.frames) == layers + 1
    assert len(page.encode()) < 25e6
