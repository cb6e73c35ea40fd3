"""artifacts/trials.csv: trials are read back exactly, failed ones are left out, and damage is refused."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Kernel, TrialParameters
from unwrite.schema.paths import TRIALS
from unwrite.search.trials import (
    OVER_MAX_KL,
    Measured,
    TrialOutcome,
    describe_trial,
    read_trials,
    trial_of,
    write_trials,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
KERNELS = st.builds(
    Kernel, max_weight=FINITE, max_weight_position=FINITE, min_weight=FINITE, min_weight_distance=FINITE
)
PARAMETERS = st.builds(
    TrialParameters,
    direction_scope=st.sampled_from(["global", "per_layer", "spans"]),
    direction_index=FINITE,
    position=st.integers(0, 5),
    attention=KERNELS,
    mlp=KERNELS,
)
REASONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
KERNEL = Kernel(max_weight=1.1, max_weight_position=4.0, min_weight=0.1 + 0.2, min_weight_distance=1e-300)
SAMPLED = TrialParameters(direction_scope="global", direction_index=3.7, position=0, attention=KERNEL, mlp=KERNEL)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


MEASURED = st.builds(Measured, st.none(), FINITE) | st.builds(Measured, FINITE, FINITE, st.booleans())


def reason_for(measured: Measured | None, failure: str) -> str:
    if measured is None:
        return failure
    return measured.unfinished


@st.composite
def outcomes(draw: st.DrawFn) -> list[TrialOutcome]:
    drawn = draw(st.lists(st.tuples(PARAMETERS, st.none() | MEASURED, REASONS), min_size=1, max_size=4))
    return [
        TrialOutcome(number, {}, parameters, measured, reason_for(measured, failure), 1.5)
        for number, (parameters, measured, failure) in enumerate(drawn)
    ]


def outcome(number: int, measured: Measured | None, reason: str = "", seconds: float = 1) -> TrialOutcome:
    return TrialOutcome(number, {}, SAMPLED, measured, reason, seconds)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes())
def test_measured_trials_are_read_back_exactly(made: list[TrialOutcome]) -> None:
    write_trials(made)
    # repr distinguishes −0 from 0; equality does not.
    assert repr(read_trials()) == repr([trial for o in made if (trial := trial_of(o)) is not None])


def test_a_row_has_dotted_names_seconds_and_the_reason_in_one_line() -> None:
    write_trials([outcome(0, Measured(0.5, 0.25), "", 1.23456), outcome(1, None, "two\r\nlines, here", 2)])
    header, first, second = TRIALS.read_text().splitlines()
    assert header.split(",")[:4] == ["number", "behaviour_rate", "kl", "direction_scope"]
    assert "attention.min_weight_distance,mlp.max_weight," in header
    assert header.endswith("reason,seconds")
    assert first.startswith("0,0.5,0.25,global,3.7,0,1.1,4.0,0.30000000000000004,1e-300,")
    assert first.endswith(",,1.235")
    assert second.startswith("1,,,global,")
    assert second.endswith(',"two lines, here",2.000')


def test_failed_trials_are_left_out() -> None:
    write_trials([outcome(0, None, "infinite logits"), outcome(1, Measured(0.0, 0.1))])
    assert [trial.number for trial in read_trials()] == [1]


def test_a_trial_above_max_kl_has_a_divergence_and_no_rate() -> None:
    above = outcome(0, Measured(None, 3.5), OVER_MAX_KL)
    write_trials([above])
    row = TRIALS.read_text().splitlines()[1]
    assert row.startswith("0,,3.5,global,")
    assert f",{OVER_MAX_KL}," in row
    assert read_trials() == []
    assert trial_of(above) is None


def test_a_table_without_measured_trials_gives_an_empty_list() -> None:
    write_trials([outcome(0, None, "infinite logits")])
    assert read_trials() == []


def test_a_missing_file_is_an_expected_error() -> None:
    with pytest.raises(UnwriteError, match=r"trials.csv is missing: run `dvc repro`"):
        read_trials()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("0.5", "many"),
        ("global", "everywhere"),
        ("reason", "reasons"),
        ("number", "numbers"),
        ("3.7", ""),
        ("position", "positions"),
        (",1.1,", ",1.1,7,"),
        (",1.1,", ","),
        (",mlp.max_weight,", ",mlp,"),
        ("mlp.min_weight,", "mlp.mim_weight,"),
    ],
)
def test_a_damaged_file_is_refused(right: str, wrong: str) -> None:
    write_trials([outcome(0, Measured(0.5, 0.25))])
    assert right in TRIALS.read_text()
    TRIALS.write_text(TRIALS.read_text().replace(right, wrong, 1))
    with pytest.raises(
        UnwriteError, match=r"trials.csv (is damaged|has another format than this version writes) .*dvc repro -f"
    ) as caught:
        read_trials()
    assert "\n" not in str(caught.value)


def test_a_trial_is_described_by_its_figures() -> None:
    assert describe_trial(trial_of(outcome(3, Measured(0.125, 0.01234)))) == (
        "trial 3, rate 12.5 %, KL divergence 0.0123 nats"
    )
    assert describe_trial(None) == "none"
