"""Sum the installed code that each stage runs: every time, to see an upgrade. A clone needs no such stage."""

from __future__ import annotations

import logging

from unwrite.pipeline.stage import run_stage
from unwrite.projects.installed_code import changed_code, installed_code, list_installed_code, upgrade_text
from unwrite.schema.params import Params

logger = logging.getLogger("unwrite.stage")


def list_code(_: Params) -> None:
    """Write artifacts/code/STAGE.json for every stage, and name those whose code has changed since they ran."""
    codes = installed_code()
    changed = changed_code(codes)
    list_installed_code(codes)
    if text := upgrade_text(changed):
        logger.info(text)


if __name__ == "__main__":
    run_stage(list_code)
