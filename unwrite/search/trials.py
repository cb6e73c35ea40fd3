"""A trial as the search knows it, and the format of artifacts/trials.csv: a row a trial, parameters by dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from unwrite.errors import UnwriteError, reason_of
from unwrite.files.records import read_csv, write_csv
from unwrite.schema.artifacts import Trial, TrialParameters
from unwrite.schema.paths import TRIALS

OVER_MAX_KL = "divergence over max_kl"


class Measured(NamedTuple):
    """What a trial does to the model, on the validation prompts.

    behaviour_rate: The share of target responses that show the behaviour; None where the divergence, which is measured
        first, was above `optimize.max_kl`, and so nothing was generated.
    kl: KL(base ‖ edited) in nats over the baseline prompts, averaged over the first `optimize.kl_tokens`
        response tokens.
    """

    behaviour_rate: float | None
    kl: float


class TrialOutcome(NamedTuple):
    """One trial that has ended.

    sampled: What the sampler chose, by Optuna's names.
    parameters: What that means.
    measured: None if it failed.
    reason: Why it failed, or why it counts for nothing (`OVER_MAX_KL`); otherwise empty.
    seconds: What it took; of a batch measured together, its share.
    """

    number: int
    sampled: Mapping[str, float | int | str]
    parameters: TrialParameters
    measured: Measured | None
    reason: str
    seconds: float


def trial_of(outcome: TrialOutcome) -> Trial | None:
    """A trial with both objectives as the record that other stages read; None for any other."""
    measured = outcome.measured
    if measured is None or measured.behaviour_rate is None:
        return None
    return Trial(
        number=outcome.number,
        behaviour_rate=measured.behaviour_rate,
        kl=measured.kl,
        parameters=outcome.parameters,
    )


def write_trials(outcomes: Sequence[TrialOutcome]) -> None:
    """Writes every trial: number, objectives (empty where not measured), parameters, reason, seconds."""
    names = list(_flat(outcomes[0].parameters.model_dump()))
    rows = [
        [
            o.number,
            "" if o.measured is None or o.measured.behaviour_rate is None else o.measured.behaviour_rate,
            "" if o.measured is None else o.measured.kl,
            *_flat(o.parameters.model_dump()).values(),
            " ".join(o.reason.split()),
            f"{o.seconds:.3f}",
        ]
        for o in outcomes
    ]
    write_csv(TRIALS, ["number", "behaviour_rate", "kl", *names, "reason", "seconds"], rows)


def read_trials() -> list[Trial]:
    """Reads the trials that have both objectives, in order.

    Raises:
        UnwriteError: The file is missing or is not what `write_trials` writes.
    """
    measured = []
    for row in read_csv(TRIALS):
        try:
            if row["reason"]:
                continue
            number, rate, kl = row.pop("number"), row.pop("behaviour_rate"), row.pop("kl")
            row.pop("reason"), row.pop("seconds")
            parameters = TrialParameters.model_validate(_nested(row))
            measured.append(
                Trial(
                    number=int(number),
                    behaviour_rate=float(rate),
                    kl=float(kl),
                    parameters=parameters,
                )
            )
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise UnwriteError(
                f"{TRIALS} is not what this version writes ({reason_of(error)}): run `dvc repro -f optimize_weights`."
            ) from None
    return measured


def _flat(parameters: dict[str, Any]) -> dict[str, object]:
    """{"mlp": {"min_weight": 1}} → {"mlp.min_weight": 1}."""
    flat: dict[str, object] = {}
    for name, value in parameters.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": number for inner, number in value.items()}
        else:
            flat[name] = value
    return flat


def _nested(flat: dict[str, str]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        outer, _, inner = name.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[outer] = value
    return nested
