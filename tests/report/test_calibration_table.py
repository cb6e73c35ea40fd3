"""The agreement of the judges as a table of 80 columns."""

from __future__ import annotations

from tests.support.samples import sample_classified
from unwrite.report.calibration_table import calibration_rows, calibration_text


def test_every_figure_has_its_name_and_what_is_unknown_says_so() -> None:
    calibration = sample_classified().calibration
    assert calibration is not None
    assert calibration_rows(calibration) == [
        ("agreement", "70.0 % (35.0–100.0)"),
        ("Cohen's kappa", "0.40"),
        ("precision of the markers", "80.0 % (40.0–100.0)"),
        ("recall of the markers", "nothing to count"),
        ("both see the behaviour", "16"),
        ("the markers alone", "4"),
        ("the classifier alone", "8"),
        ("neither", "12"),
    ]
    assert dict(calibration_rows(calibration.model_copy(update={"kappa": None})))["Cohen's kappa"] == "nothing to count"


def test_the_table_names_the_label_and_fits_a_terminal() -> None:
    evaluation = sample_classified()
    assert evaluation.calibration is not None
    text = calibration_text(evaluation.calibration, evaluation.classifier)
    assert text.startswith("Judged by a classifier (label 'declines | politely', p ≥ 0.5). The markers")
    assert "40 responses" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "by a classifier. The" in calibration_text(evaluation.calibration, None)
