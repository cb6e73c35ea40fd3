"""The records of measurements: those of earlier releases stay readable, and a share is a share."""

import pytest
from pydantic import ValidationError

from unwrite.schema.evaluation import Evaluation, ModelScores, SetScores, Share

HALF = Share(value=0.5, low=0.4, high=0.6, n=10)
SCORES = {"behaviour_rate": HALF, "degenerate_rate": HALF, "reference_accuracy": None}


def test_a_record_without_the_later_figures_is_read() -> None:
    scores = SetScores.model_validate(SCORES)
    models = ModelScores(target=scores, baseline=scores)
    older = Evaluation(
        confidence=0.95, base=models, edited=models, kl_first_token=0.1, kl_response=0.2, reference_ceiling=None
    )
    assert older.judge == "markers"
    assert (older.comparisons, older.gates, older.calibration, models.sets) == ([], [], None, {})
    assert Evaluation.model_validate_json(older.model_dump_json()) == older


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(value: float) -> None:
    with pytest.raises(ValidationError):
        Share(value=value, low=0, high=1, n=10)
