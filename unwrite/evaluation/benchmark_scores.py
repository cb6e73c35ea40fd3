"""From the harness's results for two models to differences with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unwrite.core.paired_difference import paired_difference
from unwrite.schema.evaluation import Benchmark, Benchmarks

Results = Mapping[str, Any]
"""What lm-evaluation-harness returns for one model, with its samples."""


def compare_results(base: Results, edited: Results) -> Benchmarks:
    """Compare the figures of two models, task by task in the harness's order.

    Args:
        base: results of the base model.
        edited: results of the edited model, on the same tasks with the same settings.
    """
    scores = [score for task in base["results"] for score in _scores(task, base, edited)]
    return Benchmarks(harness=_text(base.get("lm_eval_version")), scores=scores)


def _scores(task: str, base: Results, edited: Results) -> Iterator[Benchmark]:
    before, after = base["results"][task], edited["results"][task]
    for key in before:
        figure, comma, selection = key.partition(",")
        if not comma or figure.endswith("_stderr"):
            continue
        error = f"{figure}_stderr,{selection}"
        first, second = _number(before[key]), _number(after.get(key))
        values = [_values(results, task, figure, selection) for results in (base, edited)]
        yield Benchmark(
            task=task,
            version=_version(base, task),
            figure=figure,
            selection=selection,
            higher_is_better=base.get("higher_is_better", {}).get(task, {}).get(figure),
            n=_documents(base, task),
            base=first,
            base_error=_number(before.get(error)),
            edited=second,
            edited_error=_number(after.get(error)),
            difference=None if first is None or second is None else second - first,
            difference_error=_difference_error(values[0], first, values[1], second),
        )


def _values(results: Results, task: str, figure: str, selection: str) -> dict[str, float]:
    """Return a figure's value for each document of a task, by document; a group has none of its own."""
    samples = (results.get("samples") or {}).get(task, [])
    return {
        f"{sample['doc_id']} {sample.get('doc_hash')}": float(sample[figure])
        for sample in samples
        if sample.get("filter") == selection and isinstance(sample.get(figure), (bool, int, float))
    }


def _difference_error(
    before: Mapping[str, float], base: float | None, after: Mapping[str, float], edited: float | None
) -> float | None:
    """Return the paired standard error, where both figures are means over the same documents."""
    if base is None or edited is None or not before or before.keys() != after.keys():
        return None
    values = list(before.values()), [after[document] for document in before]
    if not (_is_mean(base, values[0]) and _is_mean(edited, values[1])):
        return None
    return paired_difference(*values).error


def _is_mean(figure: float, values: Sequence[float]) -> bool:
    return math.isclose(figure, sum(values) / len(values), rel_tol=1e-9, abs_tol=1e-12)


def _documents(results: Results, task: str) -> int:
    """Return how many documents a task was scored on; for a group, those of its tasks."""
    counts = results.get("n-samples", {})
    if task in counts:
        return int(counts[task]["effective"])
    return sum(_documents(results, child) for child in results.get("group_subtasks", {}).get(task, []))


def _version(results: Results, task: str) -> str | None:
    """Return the version that a task states; the harness says "Yaml" of one that states none."""
    version = _text(results.get("versions", {}).get(task))
    return None if version == "Yaml" else version


def _number(value: object) -> float | None:
    """Return a finite number as it is, and None for anything else, such as "N/A"."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
