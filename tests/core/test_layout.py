"""Every layout: the views hold each matrix and write through to the tensor, and tensors that do not fit are refused."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unwrite.core.layout import as_matrices, as_vectors

CHECK = settings(deadline=None, derandomize=True, max_examples=40, database=None)
LAYOUTS = ["dk", "kd", "(gk)d", "gdk", "gkd", "dgk", "d(gk)"]


def place(layout: str, matrices: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Return matrices [d, k] in the layout of the letters, set entry by entry, and the hidden axis."""
    G, (d, k) = len(matrices), matrices[0].shape
    sizes = {"g": G, "d": d, "k": k, "(gk)": G * k}
    axes = ["(gk)" if part == "(" else part for part in layout.replace("gk)", "")]
    tensor = torch.zeros([sizes[axis] for axis in axes], dtype=torch.float64)
    for g in range(G):
        for i in range(d):
            for j in range(k):
                at = {"g": g, "d": i, "k": j, "(gk)": g * k + j}
                tensor[tuple(at[axis] for axis in axes)] = matrices[g][i, j]
    return tensor, axes.index("d")


@CHECK
@given(st.sampled_from(LAYOUTS), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_the_view_holds_each_matrix_and_writes_through(layout: str, G: int, d: int, k: int, seed: int) -> None:
    G = G if "g" in layout else 1
    generator = torch.Generator().manual_seed(seed)
    matrices, others = torch.randn(2, G, d, k, generator=generator, dtype=torch.float64)
    tensor, axis = place(layout, list(matrices))
    view = as_matrices(tensor, axis, G)
    assert torch.equal(view, matrices)
    assert view.data_ptr() == tensor.data_ptr()
    g = seed % G
    view[g] = others[g]
    expected = [others[n] if n == g else matrices[n] for n in range(G)]
    assert torch.equal(tensor, place(layout, expected)[0])


def test_a_view_of_a_transposed_tensor_is_a_view_too() -> None:
    stored = torch.arange(24.0).reshape(4, 6)  # [d, k], seen as [k, d]
    view = as_matrices(stored.T, 1, 3)
    assert view.shape == (3, 4, 2)
    assert torch.equal(torch.cat(list(view), 1), stored)
    view.zero_()
    assert not stored.any()


@CHECK
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0, 1]))
def test_the_view_holds_each_vector_of_a_bias_and_writes_through(G: int, d: int, axis: int) -> None:
    bias = torch.randn((d, G) if axis == 0 else (G, d), dtype=torch.float64)
    view = as_vectors(bias, axis)
    assert view.shape == (G, d)
    assert torch.equal(view, bias.T if axis == 0 else bias)
    view[G - 1] = 7.0
    assert bool((bias.select(1 - axis, G - 1) == 7).all())
    single = torch.randn(d)
    as_vectors(single, 0)[0] = 7.0
    assert bool((single == 7).all())


@pytest.mark.parametrize(
    ("shape", "axis", "num_matrices"),
    [
        ((6, 4), 1, 4),  # rows that cannot be divided equally
        ((6, 4), 2, 1),
        ((6, 4), -1, 1),
        ((6, 4), 0, 0),
        ((3, 4, 2), 1, 2),  # another number of experts
        ((3, 4, 2), 0, 3),  # the hidden axis is not the one that counts
        ((4,), 0, 1),
        ((2, 2, 2, 2), 1, 2),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(shape: tuple[int, ...], axis: int, num_matrices: int) -> None:
    with pytest.raises(ValueError, match=rf"a weight must hold {num_matrices} matrices with hidden axis {axis}"):
        as_matrices(torch.zeros(shape), axis, num_matrices)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4), 1), ((3,), 1), ((2, 3), -1), ((), 0)])
def test_a_bias_that_does_not_fit_is_refused(shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(ValueError, match=rf"a bias must hold vectors along axis {axis}"):
        as_vectors(torch.zeros(shape), axis)
