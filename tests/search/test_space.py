"""The space: every parameter within its bounds, whatever the bounds."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unwrite.artifacts import Kernel
from unwrite.params import KernelSpace, Space
from unwrite.search.space import sample_parameters

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


def within(value: float, low: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9


def check_kernel(kernel: Kernel, space: KernelSpace, last: int) -> None:
    assert within(kernel.max_weight, max(0.0, space.max_weight[0]), max(0.0, space.max_weight[1]))
    assert within(kernel.max_weight_position, *(bound * last for bound in space.max_weight_position))
    assert within(kernel.min_weight, *(bound * kernel.max_weight for bound in space.min_weight))
    low, high = space.min_weight_distance
    assert within(kernel.min_weight_distance, max(1, low * last), max(1, low * last, high * last))


@settings(max_examples=60)
@given(SPACES, st.integers(1, 60), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_every_parameter_is_within_its_bounds(space: Space, layers: int, positions: int, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    last = layers - 1
    for _ in range(3):
        found = sample_parameters(study.ask(), space, layers=layers, positions=positions)
        assert found.direction_scope in space.direction_scope
        assert within(found.direction_index, *(bound * last for bound in space.direction_index))
        assert 0 <= found.position < positions
        check_kernel(found.attention, space.attention, last)
        check_kernel(found.mlp, space.mlp, last)


def test_every_trial_asks_for_the_same_parameters() -> None:
    flat = KernelSpace(
        max_weight=(-0.5, 1.5), max_weight_position=(0, 1), min_weight=(0, 1), min_weight_distance=(0, 0.6)
    )
    space = Space(
        direction_scope=("global", "per_layer"), direction_index=(0.4, 0.9), spans=(), attention=flat, mlp=flat
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(20)]
    found = [sample_parameters(trial, space, layers=9, positions=2) for trial in trials]
    assert len({tuple(sorted(trial.params)) for trial in trials}) == 1
    assert {parameters.direction_scope for parameters in found} == {"global", "per_layer"}
    assert {parameters.position for parameters in found} == {0, 1}


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_of_one_or_two_layers(layers: int) -> None:
    space = KernelSpace(max_weight=(1, 1), max_weight_position=(0, 1), min_weight=(1, 1), min_weight_distance=(0, 0.6))
    whole = Space(direction_scope=("global",), direction_index=(0, 1), spans=(), attention=space, mlp=space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = sample_parameters(study.ask(), whole, layers=layers, positions=1)
    assert found.attention.min_weight_distance == 1
    assert found.position == 0
