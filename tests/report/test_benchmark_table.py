"""Each benchmark is a row; what is not known is a dash."""

from __future__ import annotations

from unwrite.report.benchmark_table import benchmarks_text, figure_name, with_error
from unwrite.schema.evaluation import Benchmark, Benchmarks

SCORE = Benchmark(
    task="arc_easy",
    version="1.0",
    figure="acc_norm",
    selection="none",
    higher_is_better=True,
    n=2376,
    base=0.7135,
    base_error=0.0093,
    edited=0.7093,
    edited_error=0.0093,
    difference=-0.0042,
    difference_error=0.0018,
)


def test_a_row_for_each_figure() -> None:
    one = SCORE.model_copy(update={"difference": 0.5, "difference_error": None, "selection": "strict-match"})
    text = benchmarks_text(Benchmarks(harness="0.4.13", scores=[SCORE, one]))
    assert "arc_easy" in text
    assert all(figure in text for figure in ("0.714 ± 0.009", "0.709 ± 0.009", "-0.004 ± 0.002", "2376", "0.4.13"))
    assert "acc_norm (strict-match)" in text
    assert "+0.500" in text
    assert max(map(len, text.splitlines())) <= 100


def test_no_benchmarks_are_no_text() -> None:
    assert benchmarks_text(Benchmarks(harness=None, scores=[])) == ""


def test_what_is_unknown_is_a_dash() -> None:
    assert with_error(None, 0.1) == "–"
    assert with_error(1.5, None) == "1.500"
    assert figure_name(SCORE) == "acc_norm"
