"""A recipe applied to weights: directions and edited values against the formulas of the design, written out densely."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from tests.support.recipes import LAYERS, NORM, OFF, D, K, build, trial, writers
from tests.support.samples import sample_edit, sample_layout, sample_writer
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.editing.exact import applied_direction, edited_parameters, parameter_names, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import DirectionRef, Kernel, Norm
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)


def measured(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(2, LAYERS + 1, D, generator=generator, dtype=torch.float64)
    means = torch.randn(2, LAYERS + 1, D, generator=generator, dtype=torch.float64)
    return directions / directions.norm(dim=-1, keepdim=True), means


def test_a_direction_at_a_stored_index_is_the_stored_one() -> None:
    directions, means = measured()
    actual = resolve_direction(DirectionRef(position=1, index=4.0, orthogonalize_to=None), directions, means)
    torch.testing.assert_close(actual, directions[1, 4], rtol=0, atol=1e-14)


def test_a_direction_between_two_indices_is_interpolated() -> None:
    directions, means = measured()
    actual = resolve_direction(DirectionRef(position=0, index=2.25, orthogonalize_to=None), directions, means)
    mixed = 0.75 * directions[0, 2] + 0.25 * directions[0, 3]
    torch.testing.assert_close(actual, mixed / mixed.norm(), rtol=0, atol=1e-14)


def test_a_biprojected_direction_is_orthogonal_to_the_mean_it_names() -> None:
    directions, means = measured()
    actual = resolve_direction(DirectionRef(position=1, index=2.0, orthogonalize_to=5), directions, means)
    g = means[1, 5] / means[1, 5].norm()
    expected = directions[1, 2] - (directions[1, 2] @ g) * g
    torch.testing.assert_close(actual, expected / expected.norm(), rtol=0, atol=1e-14)
    assert abs(float(actual @ means[1, 5])) < 1e-12
    assert abs(float(directions[1, 2] @ means[1, 5])) > 1e-3


@pytest.mark.parametrize("index", [-0.5, LAYERS + 0.5])
def test_an_index_outside_the_stored_ones_is_refused(index: float) -> None:
    directions, means = measured()
    with pytest.raises(ValueError, match=r"direction index must be in \[0, 6\]"):
        resolve_direction(DirectionRef(position=0, index=index, orthogonalize_to=None), directions, means)


def test_a_position_or_mean_that_is_not_stored_is_refused() -> None:
    directions, means = measured()
    with pytest.raises(ValueError, match=r"direction position must be in \[0, 1\], got 2"):
        resolve_direction(DirectionRef(position=2, index=0.0, orthogonalize_to=None), directions, means)
    with pytest.raises(ValueError, match=rf"orthogonalize_to must be in \[0, {LAYERS}\], got {LAYERS + 1}"):
        resolve_direction(DirectionRef(position=0, index=0.0, orthogonalize_to=LAYERS + 1), directions, means)


def dense(W: Tensor, v: Tensor, strength: float, mode: NormPreservation) -> Tensor:
    """The table of the design, with explicit matrices."""
    P = torch.eye(len(v), dtype=torch.float64) - strength * torch.outer(v, v)
    rows, columns = W.norm(dim=1, keepdim=True), W.norm(dim=0, keepdim=True)
    edited: Tensor = P @ (W / rows if mode in {"pre", "rows"} else W / columns if mode == "columns" else W)
    if mode == "pre":
        edited = rows * edited
    elif mode == "rows":
        edited = rows * edited / edited.norm(dim=1, keepdim=True)
    elif mode == "columns":
        edited = edited / edited.norm(dim=0, keepdim=True) * columns
    return edited


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_edited_parameters_equal_the_dense_formula(mode: NormPreservation, dtype: torch.dtype) -> None:
    directions, means = measured()
    generator = torch.Generator().manual_seed(1)
    half = Kernel(max_weight=0.7, max_weight_position=2.0, min_weight=0.1, min_weight_distance=2.0)
    edits = build(trial(index=2.5, mlp=half), orthogonalize="biprojected")
    shapes = {e.matrix.parameter: (D, K) for e in edits} | {e.bias.parameter: (D,) for e in edits if e.bias is not None}
    originals = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    gamma = torch.randn(D, generator=generator).to(dtype)
    before = {name: tensor.clone() for name, tensor in originals.items()}
    actual = edited_parameters(edits, originals | {"norm": gamma}, mode, directions, means)
    assert set(actual) == set(shapes)
    for edit in edits:
        v = (1 + gamma.double()) * resolve_direction(edit.direction, directions, means)
        v = v / v.norm()
        W = originals[edit.matrix.parameter].double()
        assert edit.bias is not None
        b = originals[edit.bias.parameter].double()
        exact = {
            edit.matrix.parameter: dense(W, v, edit.strength, mode),
            edit.bias.parameter: b - edit.strength * v * (v @ b),
        }
        for name, value in exact.items():
            assert actual[name].dtype == dtype
            # Rounded once: at most half a unit in the last place off.
            torch.testing.assert_close(
                actual[name].double(), value, rtol=torch.finfo(dtype).eps / 2 + 1e-12, atol=1e-12
            )
    assert all(torch.equal(originals[name], tensor) for name, tensor in before.items())


def test_an_edit_without_a_bias_does_not_need_one() -> None:
    directions, means = measured()
    edits = build(trial(mlp=OFF), edit_bias=False, post_norm="ignore")
    originals = {edit.matrix.parameter: torch.ones(D, K) for edit in edits}
    assert parameter_names(edits) == list(originals)
    assert set(edited_parameters(edits, originals, "none", directions, means)) == set(originals)


def test_parameter_names_lists_weights_biases_and_norms_once() -> None:
    edits = build(trial("spans"), ((1, 0, 0),))
    expected = ["0.attention.weight", "0.attention.bias", "norm", "0.mlp.weight", "0.mlp.bias"]
    assert parameter_names(edits) == expected
    assert parameter_names(writers(1, bias=True, norms=[NORM])) == expected
    assert parameter_names(build(trial("spans"), ((1, 0, 0),), post_norm="ignore")) == [
        name for name in expected if name != "norm"
    ]


def test_the_applied_direction_is_scaled_by_every_norm_with_a_weight() -> None:
    directions, means = measured()
    reference = DirectionRef(position=0, index=2, orthogonalize_to=None)
    bare = Norm(parameter=None, tensor=None, offset=0.0)
    other = Norm(parameter="other", tensor="other", offset=0.0)
    gammas = {"norm": torch.linspace(-0.5, 0.5, D), "other": torch.linspace(1, 2, D)}
    v = directions[0, 2]
    for norms, scale in (([], torch.ones(D)), ([bare], torch.ones(D)), ([NORM], 1 + gammas["norm"].double())):
        u = scale * v
        actual = applied_direction(reference, norms, directions, means, gammas)
        torch.testing.assert_close(actual, u / u.norm(), rtol=0, atol=1e-14)
    u = (1 + gammas["norm"].double()) * gammas["other"].double() * v
    actual = applied_direction(reference, [NORM, bare, other], directions, means, gammas)
    torch.testing.assert_close(actual, u / u.norm(), rtol=0, atol=1e-14)


def test_the_applied_direction_is_centered_before_a_norm_that_subtracts_the_mean() -> None:
    directions, means = measured()
    reference = DirectionRef(position=0, index=2, orthogonalize_to=None)
    gamma = torch.linspace(1, 2, D)
    for parameter, scale in ((None, torch.ones(D)), ("other", gamma)):
        norm = Norm(parameter=parameter, tensor=parameter, offset=0.0, centered=True)
        u = scale.double() * directions[0, 2]
        u = u - u.mean()
        actual = applied_direction(reference, [norm], directions, means, {"other": gamma})
        torch.testing.assert_close(actual, u / u.norm(), rtol=0, atol=1e-14)


def test_the_biases_of_norms_are_edited_by_the_direction_after_them() -> None:
    directions, means = measured()
    biases = [sample_layout(f"norm.{n}.bias") for n in range(2)]
    norms = [
        Norm(parameter="first", tensor="first", offset=0.0, centered=True, bias=biases[0]),
        Norm(parameter="last", tensor="last", offset=0.0, bias=biases[1]),
    ]
    reference = DirectionRef(position=0, index=2, orthogonalize_to=None)
    edit = sample_edit(sample_writer(shape=(D, K), norms=norms), 0.7, reference)
    generator = torch.Generator().manual_seed(0)
    originals = {name: torch.rand(D, generator=generator).double() for name in ("first", "last")}
    originals |= {layout.parameter: torch.randn(D, generator=generator).double() for layout in biases}
    originals[edit.matrix.parameter] = torch.ones(D, K).double()
    assert set(parameter_names([edit])) == set(originals)
    values = edited_parameters([edit], originals, "none", directions, means)
    assert set(values) == {edit.matrix.parameter, "norm.0.bias", "norm.1.bias"}
    v = directions[0, 2].double()
    for name, along in (("norm.1.bias", v), ("norm.0.bias", originals["last"] * v)):
        u = along / along.norm()
        expected = originals[name] - 0.7 * u * (u @ originals[name])
        torch.testing.assert_close(values[name], expected, rtol=0, atol=1e-14)
    left_out = edit.model_copy(update={"norms": [norm.model_copy(update={"bias": None}) for norm in norms]})
    assert set(edited_parameters([left_out], originals, "none", directions, means)) == {edit.matrix.parameter}


G = 3
LAYOUTS = [((G * K, D), 1), ((G, D, K), 1), ((G, K, D), 2), ((D, G, K), 0)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_each_matrix_of_a_parameter_is_edited_independently(
    shape: tuple[int, ...], axis: int, mode: NormPreservation
) -> None:
    directions, means = measured()
    generator = torch.Generator().manual_seed(1)
    originals = {
        "w": torch.randn(shape, generator=generator).bfloat16(),
        "b": torch.randn(G, D, generator=generator).bfloat16(),
    }
    experts = sample_writer(matrix=sample_layout("w", axis, G), bias=sample_layout("b", 1, G))
    actual = edited_parameters([sample_edit(experts, 0.8)], originals, mode, directions, means)
    assert {name: (value.shape, value.dtype) for name, value in actual.items()} == {
        name: (value.shape, value.dtype) for name, value in originals.items()
    }
    matrices = as_matrices(originals["w"], axis, G)
    for expert in range(G):
        alone = sample_writer(shape=(D, K), bias=True)
        one = {"0.mlp.weight": matrices[expert].contiguous(), "0.mlp.bias": originals["b"][expert]}
        expected = edited_parameters([sample_edit(alone, 0.8)], one, mode, directions, means)
        assert torch.equal(as_matrices(actual["w"], axis, G)[expert], expected["0.mlp.weight"])
        assert torch.equal(as_vectors(actual["b"], 1)[expert], expected["0.mlp.bias"])
    assert not torch.equal(actual["w"], originals["w"])


def test_a_parameter_of_another_shape_is_refused() -> None:
    directions, means = measured()
    experts = sample_edit(sample_writer(matrix=sample_layout("w", 1, G)))
    with pytest.raises(UnwriteError, match=r"^w: a weight must hold 3 .*, got shape \[4, 8, 5\]\. Check the files of"):
        edited_parameters([experts], {"w": torch.ones(4, D, K)}, "none", directions, means)
    with pytest.raises(UnwriteError, match=r"^w: a weight must have one row for each of the direction's 8 numbers"):
        edited_parameters([experts], {"w": torch.ones(G, D + 1, K)}, "none", directions, means)


@pytest.mark.parametrize(
    ("value", "strength", "reason"),
    [(float("nan"), 1.0, "the weight holds NaN or infinite values"), (60_000.0, 20.0, "values must be at most 6.55e")],
)
def test_a_weight_that_cannot_be_edited_is_an_error_with_a_remedy(value: float, strength: float, reason: str) -> None:
    directions, means = measured()
    weight = torch.full((D, K), value, dtype=torch.float16)
    edit = sample_edit(sample_writer(matrix=sample_layout("w")), strength)
    with pytest.raises(UnwriteError, match=f"^w: {reason}.*or lower max_weight in params.yaml"):
        edited_parameters([edit], {"w": weight}, "none", directions, means)


def test_a_bias_that_cannot_be_edited_is_named() -> None:
    directions, means = measured()
    edit = sample_edit(sample_writer(matrix=sample_layout("w"), bias=sample_layout("b")))
    originals = {"w": torch.ones(D, K), "b": torch.ones(D + 1)}
    with pytest.raises(UnwriteError, match=r"^b: a bias must have the shape of its direction, \[8\], got \[9\]"):
        edited_parameters([edit], originals, "none", directions, means)
