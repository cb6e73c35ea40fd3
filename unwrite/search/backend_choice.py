"""The record of how a search measures its trials, so that every part of it measures them the same way."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from unwrite.errors import UnwriteError
from unwrite.models.memory import Limits
from unwrite.schema.artifacts import Artifact
from unwrite.terms import BackendName, Quantization


class BackendChoice(Artifact):
    """How trials are measured. Another backend or other batches round differently, and so lead to other trials.

    backend: on exchanged weights or on edited activations.
    trials_at_once: trials that share a forward pass on activations.
    limits: what one forward pass may hold.
    """

    backend: BackendName
    trials_at_once: Annotated[int, Field(ge=1)]
    limits: Limits


class ChosenBackend(NamedTuple):
    """The backend to measure trials with, and why it was chosen."""

    backend: BackendName
    reason: str


def required_backend(
    backend: BackendName | Literal["auto"], quantization: Quantization, *, offloaded: bool = False
) -> BackendName | None:
    """Return the backend that params.yaml or the model demands; None if either backend may be used.

    Args:
        backend: `runtime.backend`.
        quantization: how the model's weights are held.
        offloaded: whether some weights are read only when their layer runs.

    Raises:
        UnwriteError: `backend` is weights, and the model is quantized or offloaded.
    """
    if quantization == "none" and not offloaded:
        return None if backend == "auto" else backend
    if backend == "weights":
        kind = "an offloaded model" if offloaded else f"a quantized model ({quantization})"
        weights = "offloaded" if offloaded else "quantized"
        raise UnwriteError(
            f"runtime.backend must be auto or activations for {kind}, got weights: "
            f"{weights} weights cannot be exchanged."
        )
    return "activations"


def settled_choice(
    required: BackendName | None, trials_at_once: int, limits: Limits, earlier: BackendChoice | None
) -> BackendChoice | None:
    """Return how trials are measured if that is settled, None if it must be chosen by timing.

    A required backend takes precedence over the one chosen in an earlier part of the same search.

    Args:
        required: result of `required_backend`.
        trials_at_once: trials per forward pass for a required backend.
        limits: limits of this run's passes.
        earlier: choice recorded in an earlier part of the search, if any.
    """
    if required is not None:
        return BackendChoice(backend=required, trials_at_once=trials_at_once, limits=limits)
    if earlier is not None:
        return earlier.model_copy(update={"limits": limits})
    return None
