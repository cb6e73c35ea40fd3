"""List the files of a local model, of extra prompt sets and of benchmark tasks: every time, to see changes."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.records import write_json
from unwrite.pipeline.listing import list_model_files, list_set_files, list_task_files
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import JUDGE_FILES, MARKER_FILES, MODEL_FILES, PROMPT_FILES, TASK_FILES
from unwrite.schema.text import refuse_endless

logger = logging.getLogger("unwrite.stage")


def list_inputs(params: Params) -> None:
    """Write artifacts/{model,judge,prompt,marker,task}_files.json, and refuse what DVC would read without end."""
    for name in (params.tokenize.target, params.tokenize.baseline, params.judge.markers):
        refuse_endless(Path(name))
    extra = params.evaluate.sets.values()
    write_json(PROMPT_FILES, as_json(list_set_files(one.prompts for one in extra)))
    write_json(MARKER_FILES, as_json(list_set_files(one.markers for one in extra if one.markers is not None)))
    listing = list_model_files(params.model.source)
    write_json(MODEL_FILES, as_json(listing))
    classifier = params.judge.classifier
    write_json(JUDGE_FILES, as_json(list_model_files(classifier.source if classifier else None, JUDGE_FILES)))
    write_json(TASK_FILES, as_json(list_task_files(params.evaluate.harness.task_folder)))
    where = f"{len(listing.files)} files" if listing.files else "not a folder here, so there is nothing to watch"
    logger.info("%s: %s.", params.model.source, where)


if __name__ == "__main__":
    run_stage(list_inputs)
