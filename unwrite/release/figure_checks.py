"""The check of a release's figures: evaluation, card and parameters state the same ones, and rates fit their intervals.

That they were measured on this model is not checked: only the pipeline measures again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.files.cards import CARD_FILE, read_front_matter
from unwrite.release.comparison_checks import conclusion_problems
from unwrite.release.file_checks import Check, checked, not_checked
from unwrite.release.statement import Manifest
from unwrite.release.untrusted import is_plain_file, malformed_told
from unwrite.schema.evaluation import Evaluation, Share
from unwrite.schema.params import SLICE
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import EVALUATION
from unwrite.terms import SETS

_SLACK = 1e-9


def check_figures(release: Path, manifest: Manifest) -> Check:
    """Check that the figures of evaluation.json agree with each other, the parameters and the card's metadata."""
    if not is_plain_file(release, EVALUATION.name):
        return not_checked("figures", "the release has none")
    try:
        evaluation = parse_record(Evaluation, (release / EVALUATION.name).read_bytes(), EVALUATION.name)
    except (UnwriteError, OSError) as error:
        return checked("figures", "", [str(error)])
    problems = [*_share_problems(evaluation)]
    problems += malformed_told(_stated_problems(release, manifest, evaluation), "parameters or the card's metadata")
    return checked("figures", "evaluation.json, parameters and the card's metadata agree", problems)


def _stated_problems(release: Path, manifest: Manifest, evaluation: Evaluation) -> Iterator[str]:
    yield from _parameter_problems(evaluation, manifest.external.parameters)
    yield from conclusion_problems(evaluation, manifest.external.parameters.get("evaluate", {}))
    if is_plain_file(release, CARD_FILE):
        yield from _card_problems(release, manifest, evaluation)


def _shares(evaluation: Evaluation) -> Iterator[tuple[str, Share]]:
    for model in ("base", "edited"):
        for prompts, scores in getattr(evaluation, model).by_set().items():
            for figure, share in scores:
                if isinstance(share, Share):
                    yield f"{model}.{prompts}.{figure}", share


def _share_problems(evaluation: Evaluation) -> Iterator[str]:
    try:
        from unwrite.core.intervals import wilson_interval

        for name, share in _shares(evaluation):
            hits = round(share.value * share.n)
            try:
                low, high = wilson_interval(hits, share.n, evaluation.confidence)
            except ValueError as error:
                yield f"{name}: {error}"
                continue
            if not math.isclose(share.value * share.n, hits, abs_tol=1e-6):
                yield f"{name} is {share.value:.6g}, which is no share of {share.n} responses"
            elif not all(map(_close, (share.low, share.high), (low, high))):
                yield f"{name} has the interval {share.low:.4g}–{share.high:.4g}, but Wilson's is {low:.4g}–{high:.4g}"
    except ModuleNotFoundError:  # scipy comes with the pipeline
        for name, share in _shares(evaluation):
            if not 0 <= share.low <= share.value <= share.high <= 1:
                yield f"{name} is {share.value:.4g}, outside its interval {share.low:.4g}–{share.high:.4g}"
    for name in ("kl_first_token", "kl_response"):
        if getattr(evaluation, name) < -1e-6:
            yield f"{name} is negative"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=_SLACK)


def _parameter_problems(evaluation: Evaluation, declared: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    score = declared.get("score", {})
    for name, value in {"confidence": evaluation.confidence, "reference_ceiling": evaluation.reference_ceiling}.items():
        if score.get(name, value) != value:
            yield f"{name} is {value} in {EVALUATION.name}, but {score[name]} in the parameters"
    tokenize = declared.get("tokenize", {})
    for name, share in _shares(evaluation):
        every = not name.endswith("reference_accuracy")
        if (prompts := name.split(".")[1]) not in SETS:
            continue  # an extra set has as many prompts as its file
        tests = _test_prompts(tokenize, prompts)
        if isinstance(tests, int) and (share.n != tests if every else not 0 < share.n <= tests):
            yield f"{name} counts {share.n} responses, but the test split has {tests} prompts"


def _test_prompts(tokenize: Mapping[str, Any], prompts: str) -> int | None:
    """Return how many test prompts the parameters state for a set; None if they leave it open."""
    source = tokenize.get(prompts)
    slices = source.get("slices") if isinstance(source, Mapping) else None
    if not isinstance(slices, Mapping):
        stated = tokenize.get("splits", {}).get("test")
        return stated if isinstance(stated, int) else None
    found = SLICE.fullmatch(str(slices.get("test")))
    return int(found["stop"]) - int(found["start"] or 0) if found and found["stop"] else None


def _source(prompts: Any) -> str:
    return str(prompts.get("source", "") if isinstance(prompts, Mapping) else prompts)


def _card_problems(release: Path, manifest: Manifest, evaluation: Evaluation) -> Iterator[str]:
    from unwrite.release.card import card_figures

    try:
        stated = read_front_matter(release / CARD_FILE)
    except UnwriteError as error:
        yield str(error)
        return
    tokenize = manifest.external.parameters.get("tokenize", {})
    prompts = {name: _source(tokenize.get(name, "")) for name in ("target", "baseline")}
    index = stated.get("model-index")
    name = index[0].get("name") if isinstance(index, list) and index and isinstance(index[0], dict) else ""
    expected = card_figures(str(name), evaluation, prompts)
    source, commit = (manifest.external.base.get(key) for key in ("source", "commit"))
    expected |= {} if commit is None else {"base_model": source, "base_model_relation": "finetune"}
    for key in (*expected, *({"base_model", "base_model_relation"} - expected.keys())):
        if stated.get(key) != expected.get(key):
            yield f"{key} of the card does not agree with {EVALUATION.name} and the manifest"
