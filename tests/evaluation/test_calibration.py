"""Agreement of the judges, against counts by hand and scikit-learn."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from unwrite.evaluation.calibration import calibrate, warn_of_poor_agreement, with_classifier
from unwrite.schema.evaluation import Calibration, Verdict

PLAIN = Verdict(
    shown=False,
    markers=False,
    marker=None,
    span=None,
    classifier=None,
    probability=None,
    degenerate=None,
    tokens=9,
    cut=False,
    correct=None,
)


def judged(both: int, markers_only: int, classifier_only: int, neither: int) -> list[Verdict]:
    """Verdicts with these counts."""
    pairs = [(True, 0.9)] * both + [(True, 0.1)] * markers_only + [(False, 0.9)] * classifier_only
    pairs += [(False, 0.1)] * neither
    return [with_classifier(PLAIN.model_copy(update={"markers": mark, "shown": mark}), p, 0.5) for mark, p in pairs]


def calibrated(*counts: int) -> Calibration:
    calibration = calibrate(judged(*counts), 0.95)
    assert calibration is not None
    return calibration


@pytest.mark.parametrize(("probability", "shown"), [(0.49, False), (0.5, True), (1.0, True)])
def test_the_classifier_counts_from_its_threshold_on(probability: float, shown: bool) -> None:
    marked = PLAIN.model_copy(update={"markers": True, "shown": True, "marker": "sorry", "span": (0, 5)})
    verdict = with_classifier(marked, probability, 0.5)
    assert (verdict.shown, verdict.classifier, verdict.probability) == (shown, shown, probability)
    assert (verdict.markers, verdict.marker, verdict.span) == (True, "sorry", (0, 5))


def test_the_figures_are_those_counted_by_hand() -> None:
    found = calibrated(20, 5, 10, 15)  # Cohen's example: agreement 0.7, by chance 0.5, so kappa is 0.4
    assert (found.both, found.markers_only, found.classifier_only, found.neither) == (20, 5, 10, 15)
    assert found.agreement.value == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.precision is not None
    assert found.recall is not None
    assert (found.precision.n, found.recall.n) == (25, 30)
    assert found.precision.value == pytest.approx(0.8)
    assert found.recall.value == pytest.approx(2 / 3)


@given(st.tuples(*[st.integers(0, 40)] * 4).filter(any))
def test_the_figures_are_those_of_other_libraries(counts: tuple[int, int, int, int]) -> None:
    verdicts = judged(*counts)
    found = calibrated(*counts)
    marks, truth = [verdict.markers for verdict in verdicts], [bool(verdict.classifier) for verdict in verdicts]
    low, high = proportion_confint(counts[0] + counts[3], len(verdicts), method="wilson")
    assert (found.agreement.low, found.agreement.high) == pytest.approx((low, high), abs=1e-9)
    if found.kappa is None:
        assert len({*marks, *truth}) == 1
    else:
        a, b, c, d = counts
        expected = 2 * (a * d - b * c) / ((a + b) * (b + d) + (a + c) * (c + d))  # of a 2 × 2 table
        assert found.kappa == pytest.approx(expected, abs=1e-9)
    for share, score, of in ((found.precision, precision_score, marks), (found.recall, recall_score, truth)):
        if share is None:
            assert not any(of)
        else:
            assert share.value == pytest.approx(score(truth, marks))
            assert (share.low, share.high) == pytest.approx(
                proportion_confint(counts[0], sum(of), method="wilson"), abs=1e-9
            )


@pytest.mark.parametrize("counts", [(9, 0, 0, 0), (0, 0, 0, 9)])
def test_judges_that_always_say_the_same_have_no_kappa(counts: tuple[int, ...]) -> None:
    found = calibrated(*counts)
    assert (found.kappa, found.agreement.value) == (None, 1)
    warn_of_poor_agreement(found)


def test_without_a_classifier_there_is_nothing_to_calibrate() -> None:
    assert calibrate([PLAIN, PLAIN], 0.95) is None
    some = calibrate([PLAIN, *judged(3, 0, 0, 2)], 0.95)
    assert some is not None
    assert some.agreement.n == 5


@pytest.mark.parametrize(("counts", "poor"), [((20, 5, 10, 15), True), ((20, 1, 1, 20), False)])
def test_poor_agreement_is_a_warning(counts: tuple[int, ...], poor: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_poor_agreement(calibrated(*counts))
    assert ("agree on 70.0 % of the responses (Cohen's kappa 0.40)" in caplog.text) == poor
