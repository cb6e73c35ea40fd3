"""The format of artifacts/trials.csv: a row a trial, every parameter by its dotted name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from unwrite.artifacts import Trial, TrialParameters
from unwrite.errors import UnwriteError, reason_of
from unwrite.files.records import read_csv, write_csv
from unwrite.paths import TRIALS

_OBJECTIVES = ("behaviour_rate", "divergence")


class Outcome(NamedTuple):
    """One trial: what it sampled, its objectives (behaviour rate, divergence in nats) or why it failed, its seconds."""

    number: int
    parameters: TrialParameters
    objectives: tuple[float, float] | None
    reason: str
    seconds: float


def trial_of(outcome: Outcome) -> Trial:
    """A measured outcome as the record that other stages read."""
    assert outcome.objectives is not None
    rate, divergence = outcome.objectives
    return Trial(number=outcome.number, behaviour_rate=rate, divergence=divergence, parameters=outcome.parameters)


def write_trials(outcomes: Sequence[Outcome]) -> None:
    """Writes every trial: number, both objectives (empty where it failed), parameters, reason of failure, seconds."""
    names = list(_flat(outcomes[0].parameters.model_dump()))
    rows = [
        [
            o.number,
            *(o.objectives or ("", "")),
            *_flat(o.parameters.model_dump()).values(),
            " ".join(o.reason.split()),
            f"{o.seconds:.3f}",
        ]
        for o in outcomes
    ]
    write_csv(TRIALS, ["number", *_OBJECTIVES, *names, "reason", "seconds"], rows)


def read_trials() -> list[Trial]:
    """Reads the trials that were measured, in order.

    Raises:
        UnwriteError: The file is missing or is not what `write_trials` writes.
    """
    measured = []
    for row in read_csv(TRIALS):
        try:
            if row["reason"]:
                continue
            number, rate, divergence = row.pop("number"), row.pop("behaviour_rate"), row.pop("divergence")
            row.pop("reason"), row.pop("seconds")
            parameters = TrialParameters.model_validate(_nested(row))
            measured.append(
                Trial(
                    number=int(number),
                    behaviour_rate=float(rate),
                    divergence=float(divergence),
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
