"""Mixes of stored vectors: parallel to the direction that a reference names, with norms after the writer too."""

from __future__ import annotations

import pytest
import torch

from tests.support.samples import sample_direction
from tests.support.weights import DIRECTIONS, GAMMA, MEANS, PARAMETERS, REFERENCES
from unwrite.core.directions import AffineNorm, through_norms
from unwrite.editing.basis import BasisVector, basis_vector, combine, mix_of
from unwrite.editing.exact import resolve_direction
from unwrite.schema.artifacts import DirectionRef

SCALE = GAMMA.offset + PARAMETERS["norm"]
NORM, LAYER_NORM = AffineNorm(SCALE), AffineNorm(SCALE, centered=True)


@pytest.mark.parametrize(
    "norms",
    [[], [NORM], [NORM, NORM], [NORM, LAYER_NORM]],
    ids=["no norm", "one norm", "two norms", "one that subtracts the mean"],
)
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_mix_is_parallel_to_the_direction_of_its_reference(reference: DirectionRef, norms: list[AffineNorm]) -> None:
    actual = combine(mix_of(reference, DIRECTIONS, MEANS), DIRECTIONS, MEANS, norms)
    expected = through_norms(resolve_direction(reference, DIRECTIONS, MEANS), norms)
    torch.testing.assert_close(actual / actual.norm(), expected, rtol=0, atol=1e-12)
    other = through_norms(resolve_direction(sample_direction(0.5), DIRECTIONS, MEANS), norms)
    assert float((actual / actual.norm() - other).abs().max()) > 1e-2


def test_a_stored_index_needs_one_vector_and_an_index_between_two_of_them() -> None:
    assert mix_of(sample_direction(2.0), DIRECTIONS, MEANS) == {BasisVector(0, 2, mean=False): 1.0}
    between = mix_of(sample_direction(1.25, position=1), DIRECTIONS, MEANS)
    assert between == {BasisVector(1, 1, mean=False): 0.75, BasisVector(1, 2, mean=False): 0.25}
    biprojected = mix_of(sample_direction(2.0, orthogonalize_to=1), DIRECTIONS, MEANS)
    assert list(biprojected) == [BasisVector(0, 2, mean=False), BasisVector(0, 1, mean=True)]


def test_a_mean_is_normalized_and_a_zero_mean_stays_zero() -> None:
    means = MEANS.clone()
    means[1, 3] = 0
    actual = basis_vector(BasisVector(0, 3, mean=True), DIRECTIONS, means)
    torch.testing.assert_close(actual, MEANS[0, 3] / MEANS[0, 3].norm(), rtol=0, atol=1e-14)
    assert not basis_vector(BasisVector(1, 3, mean=True), DIRECTIONS, means).any()
    assert torch.equal(basis_vector(BasisVector(1, 3, mean=False), DIRECTIONS, means, [NORM]), SCALE * DIRECTIONS[1, 3])
