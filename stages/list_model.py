"""List the files of a local model and of benchmark tasks; this runs every time, so that `dvc repro` sees other ones."""

from __future__ import annotations

import logging
from pathlib import Path

from unwrite.files.records import write_json
from unwrite.pipeline.listing import list_model_files, list_task_files
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import JUDGE_FILES, MODEL_FILES, TASK_FILES
from unwrite.schema.text import refuse_endless

logger = logging.getLogger("unwrite.stage")


def list_model(params: Params) -> None:
    """Write artifacts/{model,judge,task}_files.json, and refuse what DVC would read without end."""
    for name in (params.tokenize.target, params.tokenize.baseline, params.judge.markers):
        refuse_endless(Path(name))
    listing = list_model_files(params.model.source)
    write_json(MODEL_FILES, as_json(listing))
    classifier = params.judge.classifier
    write_json(JUDGE_FILES, as_json(list_model_files(classifier.source if classifier else None, JUDGE_FILES)))
    write_json(TASK_FILES, as_json(list_task_files(params.evaluate.harness.task_folder)))
    where = f"{len(listing.files)} files" if listing.files else "not a folder here, so there is nothing to watch"
    logger.info("%s: %s.", params.model.source, where)


if __name__ == "__main__":
    run_stage(list_model)
