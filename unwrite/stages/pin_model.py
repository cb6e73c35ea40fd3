"""Pin the model: resolve it to a commit, list its files with sha256, find its writers and where they are stored."""

from __future__ import annotations

import logging

from unwrite.files.records import write_json
from unwrite.pipeline.pinning import pin_base
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import as_json
from unwrite.schema.params import Params
from unwrite.schema.paths import BASE

logger = logging.getLogger("unwrite.stage")


def pin_model(params: Params) -> None:
    """Write artifacts/base.json."""
    model = params.model
    base = pin_base(
        model.source,
        model.revision,
        dtype=model.dtype,
        quantization=model.quantization,
        allow_incomplete=model.allow_incomplete,
    )
    write_json(BASE, as_json(base))
    writers, files = len(base.writers), len(base.files)
    logger.info("%s: %d layers, %d writers, %d files pinned.", base.architecture, base.layers, writers, files)


if __name__ == "__main__":
    run_stage(pin_model)
