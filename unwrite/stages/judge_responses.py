"""Judge the stored responses: nothing is generated again when a judge changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.core.thinking import answer_of
from unwrite.evaluation.calibration import with_classifier
from unwrite.evaluation.judging import judge_response
from unwrite.files.atomic import atomic_folder
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import write_json, write_jsonl
from unwrite.pipeline.classifier_judge import classify, open_classifier
from unwrite.pipeline.responses import StoredResponse, read_responses, responses_file
from unwrite.pipeline.stage import run_stage, use_threads
from unwrite.pipeline.tokens import prompt_sets, read_tokens
from unwrite.schema.artifacts import ModelFiles, SetFiles, as_json, read_artifact
from unwrite.schema.evaluation import ClassifierUsed, Verdict
from unwrite.schema.params import Params, Runtime
from unwrite.schema.paths import CLASSIFIER, DISAGREEMENTS, JUDGE_FILES, MARKER_FILES, VERDICTS
from unwrite.terms import MODELS, ModelName

if TYPE_CHECKING:
    from unwrite.models.classifier import LoadedClassifier

Place = tuple[ModelName, str]
"""A model and a prompt set."""
Stored = Mapping[Place, Sequence[StoredResponse]]
Judged = dict[Place, list[Verdict]]


def judge_responses(params: Params) -> str | None:
    """Write artifacts/verdicts/{base,edited}.SET.jsonl; with a classifier, which, and where it differs.

    Returns the dtype that the classifier computed in, if there is one.
    """
    read_artifact(SetFiles, MARKER_FILES, "list_inputs")  # which change with the files
    read_artifact(ModelFiles, JUDGE_FILES, "list_inputs")
    common, extra = read_markers(Path(params.judge.markers)), params.evaluate.sets
    own = {name: read_markers(Path(one.markers)) for name, one in extra.items() if one.markers is not None}
    stored: dict[Place, list[StoredResponse]] = {}
    verdicts: Judged = {}
    for name in prompt_sets():
        prompts, markers = read_tokens(name, "test"), own.get(name, common)
        for model in MODELS:
            stored[model, name] = read_responses(model, name, prompts)
            verdicts[model, name] = [
                judge_response(row.response, markers, reference=row.reference, tokens=row.tokens, cut=row.cut)
                for row in stored[model, name]
            ]
    used = dtype = None
    if params.judge.classifier is not None:
        loaded, used = open_classifier(params.judge.classifier, params.runtime)
        use_threads(params.runtime.threads)
        # Markers of a set's own say what it looks for: something else, or in a language that the classifier lacks.
        of_common = {place: judged for place, judged in verdicts.items() if place[1] not in own}
        verdicts |= _classified(stored, of_common, loaded, used, params.runtime)
        dtype = loaded.dtype
    with atomic_folder(VERDICTS) as temporary:
        for place, judged in verdicts.items():
            write_jsonl(responses_file(*place, temporary), map(as_json, judged))
        if used is not None:
            write_json(temporary / CLASSIFIER.name, as_json(used))
            write_jsonl(temporary / DISAGREEMENTS.name, _disagreements(stored, verdicts))
    return dtype


def _classified(
    stored: Stored, verdicts: Judged, loaded: LoadedClassifier, used: ClassifierUsed, runtime: Runtime
) -> Judged:
    """Return the markers' verdicts with the classifier's, which count."""
    rows = [row for place in verdicts for row in stored[place]]
    answers, prompts = [answer_of(row.response).strip() for row in rows], [row.prompt for row in rows]
    probabilities = iter(classify(loaded, used, answers, prompts, runtime))
    return {
        place: [with_classifier(verdict, next(probabilities), used.threshold) for verdict in of_place]
        for place, of_place in verdicts.items()
    }


def _disagreements(stored: Stored, verdicts: Judged) -> Iterator[dict[str, object]]:
    """Yield the responses on which markers and classifier disagree, for people to read."""
    for (model, name), rows in stored.items():
        for row, verdict in zip(rows, verdicts[model, name], strict=True):
            if verdict.classifier is not None and verdict.markers != verdict.classifier:
                yield {
                    "model": model,
                    "prompts": name,
                    "prompt": row.prompt,
                    "response": row.response,
                    "marker": verdict.marker,
                    "probability": verdict.probability,
                }


if __name__ == "__main__":
    run_stage(judge_responses)
