"""A trial as the search knows it, and artifacts/trials.csv: one row per trial, parameters by dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.records import read_csv, write_csv
from unwrite.report.format import nats, percent
from unwrite.schema.artifacts import Trial, TrialParameters
from unwrite.schema.paths import TRIALS

OVER_MAX_KL = "divergence over max_kl"
STOPPED = "stopped: no longer to be chosen; the rate is a lower bound"
UNFINISHED = (OVER_MAX_KL, STOPPED)
"""Reasons of trials that were measured as far as they were worth it."""


class Measured(NamedTuple):
    """The measurements of a trial on the validation prompts.

    behaviour_rate: share of target responses that show the behaviour; None if `kl`, which is measured first, was above
        `optimize.max_kl`, so that no response was generated.
    kl: KL(base ‖ edited) in nats over the baseline prompts, averaged over the first `optimize.kl_tokens` response
        tokens.
    is_bound: whether the trial was stopped, so that `behaviour_rate` is a lower bound (`racing`).
    """

    behaviour_rate: float | None
    kl: float
    is_bound: bool = False

    @property
    def unfinished(self) -> str:
        """Why the rate is not known, or empty."""
        if self.behaviour_rate is None:
            return OVER_MAX_KL
        return STOPPED if self.is_bound else ""


class TrialOutcome(NamedTuple):
    """One trial that has ended.

    sampled: values that the sampler chose, by Optuna's names.
    parameters: the parameters of the edit that these values give.
    measured: its measurements; None if it failed.
    reason: why it failed, or why its rate is not known (`UNFINISHED`); otherwise empty.
    seconds: the time it took; in a batch measured together, its share.
    """

    number: int
    sampled: Mapping[str, float | int | str]
    parameters: TrialParameters
    measured: Measured | None
    reason: str
    seconds: float


def trial_of(outcome: TrialOutcome) -> Trial | None:
    """Return a trial as the record that other stages read; None unless both objectives were measured in full."""
    measured = outcome.measured
    if measured is None or measured.behaviour_rate is None or measured.is_bound:
        return None
    return Trial(
        number=outcome.number,
        behaviour_rate=measured.behaviour_rate,
        kl=measured.kl,
        parameters=outcome.parameters,
    )


def describe_trial(trial: Trial | None) -> str:
    """Return a trial's figures in a few words; "none" for no trial."""
    if trial is None:
        return "none"
    return f"trial {trial.number}, rate {percent(trial.behaviour_rate)}, KL divergence {nats(trial.kl)}"


def write_trials(outcomes: Sequence[TrialOutcome]) -> None:
    """Write artifacts/trials.csv: number, objectives (empty if not measured), parameters, reason, seconds.

    Args:
        outcomes: trials that have ended, at least one.
    """
    names = list(_flat(outcomes[0].parameters.model_dump()))
    header = ["number", "behaviour_rate", "kl", *names, "reason", "seconds"]
    write_csv(TRIALS, header, [_row(outcome) for outcome in outcomes])


def read_trials(reason: str = "") -> list[Trial]:
    """Read the trials that were measured in full, in order.

    Args:
        reason: `STOPPED` for the stopped trials instead, whose rates are lower bounds.

    Raises:
        UnwriteError: the file is missing, or `write_trials` did not write it.
    """
    try:
        return [_parse_row(row) for row in read_csv(TRIALS) if row["reason"] == reason]
    except (KeyError, TypeError, ValueError) as error:
        raise UnwriteError(
            f"{TRIALS} has another format than this version writes ({reason_of(error)}). "
            "Run `dvc repro -f optimize_weights`."
        ) from None


def _row(outcome: TrialOutcome) -> list[object]:
    measured = outcome.measured
    return [
        outcome.number,
        "" if measured is None or measured.behaviour_rate is None else measured.behaviour_rate,
        "" if measured is None else measured.kl,
        *_flat(outcome.parameters.model_dump()).values(),
        " ".join(outcome.reason.split()),
        f"{outcome.seconds:.3f}",
    ]


def _parse_row(row: dict[str, str]) -> Trial:
    fields = {name: row.pop(name) for name in ("number", "behaviour_rate", "kl", "reason", "seconds")}
    return Trial(
        number=int(fields["number"]),
        behaviour_rate=float(fields["behaviour_rate"]),
        kl=float(fields["kl"]),
        parameters=TrialParameters.model_validate(_nested(row)),
    )


def _flat(parameters: dict[str, Any]) -> dict[str, object]:
    """Turn {"mlp": {"min_weight": 1}} into {"mlp.min_weight": 1}."""
    flat: dict[str, object] = {}
    for name, value in parameters.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": number for inner, number in value.items()}
        else:
            flat[name] = value
    return flat


def _nested(flat: dict[str, str]) -> dict[str, Any]:
    """Turn {"mlp.min_weight": 1} into {"mlp": {"min_weight": 1}}."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        outer, _, inner = name.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[outer] = value
    return nested
