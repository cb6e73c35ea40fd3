"""Figures of both models are paired by task, figure and document."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unwrite.evaluation.benchmark_scores import compare_results


def results(values: list[float], figure: float | None = None, **changes: Any) -> dict[str, Any]:
    """Results of one model on one task, as the harness returns them."""
    samples = [{"doc_id": number, "filter": "none", "acc": value} for number, value in enumerate(values)]
    mean = sum(values) / len(values) if figure is None else figure
    return {
        "results": {"tea": {"name": "tea", "alias": "tea", "sample_len": 4, "acc,none": mean, "acc_stderr,none": 0.1}},
        "versions": {"tea": 3},
        "higher_is_better": {"tea": {"acc": True}},
        "n-samples": {"tea": {"original": 9, "effective": len(values)}},
        "samples": {"tea": samples},
        "lm_eval_version": "0.4.13",
        **changes,
    }


def test_a_figure_of_both_models_with_its_paired_error() -> None:
    compared = compare_results(results([1, 0, 1, 1]), results([1, 0, 0, 0]))
    assert compared.harness == "0.4.13"
    (score,) = compared.scores
    assert (score.task, score.version, score.figure, score.selection) == ("tea", "3", "acc", "none")
    assert (score.n, score.higher_is_better) == (4, True)
    assert (score.base, score.edited, score.difference, score.base_error) == (0.75, 0.25, -0.5, 0.1)
    assert score.difference_error == pytest.approx(math.sqrt(1 / 3) / 2)


def test_documents_are_paired_by_what_they_are_not_by_their_place() -> None:
    edited = results([1, 0, 1, 1])
    edited["samples"]["tea"].reverse()
    assert compare_results(results([1, 0, 1, 1]), edited).scores[0].difference_error == 0
    edited["samples"]["tea"][0]["doc_hash"] = "another"
    assert compare_results(results([1, 0, 1, 1]), edited).scores[0].difference_error is None


def test_a_figure_that_is_no_mean_over_documents_has_no_paired_error() -> None:
    (score,) = compare_results(results([1, 0, 1, 1], figure=7.5), results([1, 0, 0, 0], figure=8.0)).scores
    assert (score.difference, score.difference_error) == (0.5, None)


def test_what_is_not_a_finite_number_is_none() -> None:
    base = results([1, 0], figure=math.inf)
    base["results"]["tea"]["acc_stderr,none"] = "N/A"
    (score,) = compare_results(base, results([1, 0])).scores
    assert (score.base, score.base_error, score.edited, score.difference) == (None, None, 0.5, None)


def test_a_task_without_a_version_has_none() -> None:
    assert compare_results(results([1, 0], versions={"tea": "Yaml"}), results([1, 0])).scores[0].version is None


def test_a_group_counts_the_documents_of_its_tasks_and_has_no_paired_error() -> None:
    def grouped(values: list[float]) -> dict[str, Any]:
        one = results(values)
        one["results"]["drinks"] = {"alias": "drinks", "acc,none": 0.5, "acc_stderr,none": 0.2}
        one["group_subtasks"] = {"drinks": ["hot"], "hot": ["tea"]}
        return one

    scores = {score.task: score for score in compare_results(grouped([1, 0, 1]), grouped([1, 1, 1])).scores}
    assert scores["drinks"].n == scores["tea"].n == 3
    assert scores["drinks"].difference_error is None
    assert scores["tea"].difference_error is not None
