"""The choice of a backend: required by params.yaml or the model, or made earlier in the search; and its record."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from unwrite.errors import UnwriteError
from unwrite.models.memory import Limits
from unwrite.search.backend_choice import BackendChoice, required_backend, settled_choice
from unwrite.terms import BackendName, Quantization

LIMITS = Limits(300, 200, 1 << 25)
EARLIER = BackendChoice(backend="activations", trials_at_once=5, limits=Limits(16384, 2048, 1 << 25))


@pytest.mark.parametrize(
    ("backend", "quantization", "required"),
    [
        ("auto", "none", None),
        ("weights", "none", "weights"),
        ("activations", "none", "activations"),
        ("auto", "nf4", "activations"),
        ("activations", "int8", "activations"),
    ],
)
def test_params_or_a_quantized_model_demand_a_backend(
    backend: BackendName | Literal["auto"], quantization: Quantization, required: BackendName | None
) -> None:
    assert required_backend(backend, quantization) == required


def test_a_quantized_model_refuses_weights() -> None:
    with pytest.raises(UnwriteError, match=r"^runtime\.backend must be auto or activations .* \(int8\), got weights"):
        required_backend("weights", "int8")


def test_a_required_backend_takes_precedence_over_an_earlier_choice() -> None:
    expected = BackendChoice(backend="weights", trials_at_once=3, limits=LIMITS)
    assert settled_choice("weights", 3, LIMITS, EARLIER) == expected
    assert settled_choice("weights", 3, LIMITS, None) == expected


def test_an_earlier_choice_is_kept_under_the_limits_of_this_run() -> None:
    expected = BackendChoice(backend="activations", trials_at_once=5, limits=LIMITS)
    assert settled_choice(None, 3, LIMITS, EARLIER) == expected
    assert settled_choice(None, 3, LIMITS, None) is None


def test_a_choice_is_the_same_after_writing_and_reading_it() -> None:
    assert BackendChoice.model_validate(EARLIER.model_dump(mode="json")) == EARLIER
    assert BackendChoice.model_validate_json(EARLIER.model_dump_json()).limits == Limits(16384, 2048, 1 << 25)


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": "both"},
        {"trials_at_once": 0},
        {"trials_at_once": "many"},
        {"limits": [1, 1]},
        {"limits": "many 1 1"},
        {"seconds": 2},
    ],
)
def test_an_invalid_choice_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BackendChoice.model_validate(EARLIER.model_dump(mode="json") | changes)
