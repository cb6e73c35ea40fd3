"""The space: every parameter is within its bounds, and one-shot settings are λ = 1 in every layer."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.core.kernel import kernel_weight
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import Kernel, TrialParameters
from unwrite.schema.params import KernelSpace, Space
from unwrite.search.space import (
    check_spans,
    one_shot_settings,
    search_space,
    starting_settings,
    trial_parameters,
    why_no_one_shots,
)
from unwrite.terms import COMPONENTS

optuna.logging.set_verbosity(optuna.logging.WARNING)


def bounds(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    number = st.floats(low, high, allow_nan=False, allow_subnormal=False)
    return st.tuples(number, number).map(lambda pair: (min(pair), max(pair)))


def kernel_spaces() -> st.SearchStrategy[KernelSpace]:
    return st.builds(
        KernelSpace,
        max_weight=bounds(-1, 3),
        max_weight_position=bounds(0, 1),
        min_weight=bounds(0, 1),
        min_weight_distance=bounds(0, 1),
    )


SCOPES = st.lists(st.sampled_from(["global", "per_layer", "spans"]), min_size=1, max_size=3, unique=True).map(tuple)
SPACES = st.builds(
    Space,
    direction_scope=SCOPES,
    direction_index=bounds(0, 1),
    spans=st.just(((0, 0, 0),)),
    attention=kernel_spaces(),
    mlp=kernel_spaces(),
)


def asked(space: Space, layers: int, positions: int, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return the values that some trials sample at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    distributions = search_space(space, layers=layers, positions=positions)
    return [study.ask(distributions).params for _ in range(trials)]


def within(value: float, low: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9


def check_kernel(kernel: Kernel, space: KernelSpace, last: int) -> None:
    assert within(kernel.max_weight, max(0.0, space.max_weight[0]), max(0.0, space.max_weight[1]))
    assert within(kernel.max_weight_position, *(bound * last for bound in space.max_weight_position))
    assert within(kernel.min_weight, *(bound * kernel.max_weight for bound in space.min_weight))
    low, high = space.min_weight_distance
    assert within(kernel.min_weight_distance, max(1, low * last), max(1, low * last, high * last))


def check(actual: TrialParameters, space: Space, layers: int, positions: int) -> None:
    last = layers - 1
    assert actual.direction_scope in space.direction_scope
    assert within(actual.direction_index, *(bound * last for bound in space.direction_index))
    assert 0 <= actual.position < positions
    check_kernel(actual.attention, space.attention, last)
    check_kernel(actual.mlp, space.mlp, last)


@settings(max_examples=60)
@given(SPACES, st.integers(1, 60), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_every_parameter_is_within_its_bounds(space: Space, layers: int, positions: int, seed: int) -> None:
    for sampled in asked(space, layers, positions, 3, seed):
        check(trial_parameters(sampled), space, layers, positions)


FLAT = KernelSpace(max_weight=(-0.5, 1.5), max_weight_position=(0, 1), min_weight=(0, 1), min_weight_distance=(0, 0.6))
WIDE = Space(direction_scope=("global", "per_layer"), direction_index=(0.4, 0.9), spans=(), attention=FLAT, mlp=FLAT)


def test_every_trial_samples_the_same_parameters() -> None:
    trials = asked(WIDE, layers=9, positions=2, trials=20)
    actual = [trial_parameters(sampled) for sampled in trials]
    assert len({tuple(sorted(sampled)) for sampled in trials}) == 1
    assert {parameters.direction_scope for parameters in actual} == {"global", "per_layer"}
    assert {parameters.position for parameters in actual} == {0, 1}


def test_a_weight_below_zero_becomes_zero() -> None:
    for sampled in asked(WIDE, layers=9, positions=1, trials=20):
        kernel = trial_parameters(sampled).mlp
        assert kernel.max_weight == max(0, sampled["mlp.max_weight"])
        assert kernel.min_weight == sampled["mlp.min_weight"] * kernel.max_weight


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_can_have_one_or_two_layers(layers: int) -> None:
    space = KernelSpace(max_weight=(1, 1), max_weight_position=(0, 1), min_weight=(1, 1), min_weight_distance=(0, 0.6))
    whole = Space(direction_scope=("global",), direction_index=(0, 1), spans=(), attention=space, mlp=space)
    (sampled,) = asked(whole, layers=layers, positions=1, trials=1)
    actual = trial_parameters(sampled)
    assert actual.attention.min_weight_distance == 1
    assert actual.position == 0


@settings(max_examples=60)
@given(SPACES, st.integers(1, 60))
def test_one_shot_settings_are_within_the_bounds_and_one_everywhere(space: Space, layers: int) -> None:
    distributions = search_space(space, layers=layers, positions=1)
    for sampled in one_shot_settings(space, layers=layers):
        assert set(sampled) == set(distributions)
        assert all(
            distributions[name]._contains(distributions[name].to_internal_repr(value))
            for name, value in sampled.items()
        )
        parameters = trial_parameters(sampled)
        check(parameters, space, layers, 1)
        assert parameters.direction_scope == "global"
        kernels = [getattr(parameters, component).model_dump() for component in COMPONENTS]
        assert all(kernel_weight(layer, **kernel) == 1 for kernel in kernels for layer in range(layers))


@settings(max_examples=60)
@given(SPACES, st.integers(1, 60))
def test_a_search_begins_with_one_shot_settings_and_a_late_edit_within_the_bounds(space: Space, layers: int) -> None:
    *one_shots, late = starting_settings(space, layers=layers)
    assert one_shots == one_shot_settings(space, layers=layers)
    distributions = search_space(space, layers=layers, positions=1)
    assert set(late) == set(distributions)
    for name, value in late.items():
        assert distributions[name]._contains(distributions[name].to_internal_repr(value))
    check(trial_parameters(late), space, layers, 1)


@pytest.mark.parametrize("layers", [6, 30])
def test_the_late_edit_fades_from_half_strength_in_the_last_layer(layers: int) -> None:
    kernel = FLAT.model_copy(update={"max_weight_position": (0.4, 1.0), "min_weight_distance": (0.1, 0.6)})
    space = WIDE.model_copy(update={"attention": kernel, "mlp": kernel, "direction_scope": ("global", "per_layer")})
    late = trial_parameters(starting_settings(space, layers=layers)[-1])
    assert late.direction_scope == "per_layer"
    weights = [kernel_weight(layer, **late.mlp.model_dump()) for layer in range(layers)]
    assert weights[-1] == 0.5
    assert weights == sorted(weights)
    assert sum(weight > 0 for weight in weights) == math.ceil(0.6 * (layers - 1))
    assert late.attention == late.mlp


@pytest.mark.parametrize("layers", [2, 6, 36, 80])
def test_one_shot_settings_cover_the_bounds_at_five_depths(layers: int) -> None:
    deep = FLAT.model_copy(update={"max_weight_position": (0.6, 1.0)})  # as in params.yaml for deep models
    for kernel in (FLAT, deep):
        space = WIDE.model_copy(update={"attention": kernel, "mlp": kernel})
        depths = [sampled["direction_index"] for sampled in one_shot_settings(space, layers=layers)]
        assert depths == pytest.approx([share * (layers - 1) for share in (0.4, 0.525, 0.65, 0.775, 0.9)])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"direction_scope": ("per_layer",)}, "direction_scope lacks global"),
        ({"mlp": FLAT.model_copy(update={"max_weight": (0.0, 0.9)})}, "mlp.max_weight [0.0, 0.9] excludes 1"),
        (
            {"attention": FLAT.model_copy(update={"min_weight": (0.0, 0.5)})},
            "attention.min_weight [0.0, 0.5] excludes 1",
        ),
        (
            {"attention": FLAT.model_copy(update={"min_weight_distance": (0.0, 0.3)})},
            "attention.min_weight_distance [0.0, 0.3] does not reach every layer",
        ),
    ],
)
def test_a_bound_that_excludes_one_shot_settings_is_named(changes: dict[str, Any], why: str) -> None:
    assert one_shot_settings(WIDE, layers=9)
    assert why_no_one_shots(WIDE, layers=9) is None
    narrow = WIDE.model_copy(update=changes)
    assert one_shot_settings(narrow, layers=9) == []
    assert why_no_one_shots(narrow, layers=9) == f"optimize.space.{why}"


def test_a_single_depth_is_tried_once() -> None:
    assert len(one_shot_settings(WIDE.model_copy(update={"direction_index": (0.5, 0.5)}), layers=9)) == 1


@pytest.mark.parametrize("span", [(9, 0, 3), (3, 2, 9)])
def test_a_span_beyond_the_last_layer_is_refused(span: tuple[int, int, int]) -> None:
    space = WIDE.model_copy(update={"spans": (span,)})
    check_spans(space, layers=10)
    with pytest.raises(UnwriteError, match=r"^layers in optimize\.space\.spans must be between 0 and 8, got 9\."):
        check_spans(space, layers=9)
