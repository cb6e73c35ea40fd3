"""Fail if the edited model does not keep a gate: last, when everything that explains it is written."""

from __future__ import annotations

import logging

from unwrite.errors import UnwriteError
from unwrite.pipeline.stage import run_stage
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.gate_values import gate_text
from unwrite.schema.params import Params
from unwrite.schema.paths import EVALUATION, REPORT

logger = logging.getLogger("unwrite.stage")


def check_gates(_: Params) -> None:
    """Check the gates of artifacts/evaluation.json (`evaluate.gates`).

    Raises:
        UnwriteError: a gate failed; each is named with its figure, bound and value. Or the report is missing, which
            shows why.
    """
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    if not REPORT.is_file():
        raise UnwriteError(f"{REPORT} is missing: run `dvc repro` first.")
    failed = [gate_text(gate) for gate in evaluation.gates if not gate.passed]
    if failed:
        lines = "\n".join(f"  {line}" for line in failed)
        raise UnwriteError(
            f"{len(failed)} of {len(evaluation.gates)} gates failed (evaluate.gates); everything is written, "
            f"see {REPORT}:\n{lines}"
        )
    said = f"{len(evaluation.gates)} gates are kept." if evaluation.gates else "There are no gates (evaluate.gates)."
    logger.info(said)


if __name__ == "__main__":
    run_stage(check_gates)
