"""Judge the stored responses: nothing is generated again when a judge changes."""

from __future__ import annotations

from pathlib import Path

from unwrite.evaluation.judging import judge_response
from unwrite.files.atomic import atomic_folder
from unwrite.files.prompts import read_markers
from unwrite.files.records import write_jsonl
from unwrite.pipeline.responses import read_responses, responses_file
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import VERDICTS
from unwrite.terms import MODELS, SETS


def judge_responses(params: Params) -> None:
    """Write artifacts/verdicts/{base,edited}.{target,baseline}.jsonl."""
    markers = read_markers(Path(params.judge.markers))
    with atomic_folder(VERDICTS) as temporary:
        for name in SETS:
            prompts = read_tokens(name, "test")
            for model in MODELS:
                verdicts = [
                    judge_response(row.response, markers, reference=row.reference, tokens=row.tokens, cut=row.cut)
                    for row in read_responses(model, name, prompts)
                ]
                write_jsonl(responses_file(model, name, temporary), map(as_json, verdicts))


if __name__ == "__main__":
    run_stage(judge_responses)
