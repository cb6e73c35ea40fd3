"""How far the markers agree with the classifier, as a table for the terminal and the card."""

from __future__ import annotations

import textwrap

from tabulate import tabulate

from unwrite.report.tables import interval_text
from unwrite.schema.evaluation import Calibration, ClassifierUsed

_NOTHING = "nothing to count"


def calibration_rows(calibration: Calibration) -> list[tuple[str, str]]:
    """Return each figure with its name: agreement, kappa, precision and recall with intervals, and the counts."""
    found = {"precision": calibration.precision, "recall": calibration.recall}
    return [
        ("agreement", interval_text(calibration.agreement)),
        ("Cohen's kappa", _NOTHING if calibration.kappa is None else f"{calibration.kappa:.2f}"),
        *(
            (f"{name} of the markers", _NOTHING if share is None else interval_text(share))
            for name, share in found.items()
        ),
        ("both see the behaviour", f"{calibration.both}"),
        ("the markers alone", f"{calibration.markers_only}"),
        ("the classifier alone", f"{calibration.classifier_only}"),
        ("neither", f"{calibration.neither}"),
    ]


def calibration_text(calibration: Calibration, classifier: ClassifierUsed | None) -> str:
    """Return the table for a terminal of 80 columns, with the label that the rates count.

    Args:
        calibration: the agreement.
        classifier: the classifier, if it is on record.
    """
    label = "" if classifier is None else f" (label {classifier.label!r}, p ≥ {classifier.threshold:g})"
    intro = textwrap.fill(f"Judged by a classifier{label}. The markers against it:", 80)
    rows = calibration_rows(calibration)
    table = tabulate(rows, ["", f"{calibration.agreement.n} responses"], "simple", colalign=("left", "right"))
    return f"{intro}\n\n{table}"
