"""The edit of outputs and biases equals the edit of the weight behind them."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.support.edits import CHECK, MODES, Case, cases, close, in_blocks, left
from unwrite.core.edit import Factors, edit_weight, factors
from unwrite.core.outputs import edit_bias, edit_output
from unwrite.terms import NormPreservation


@CHECK
@given(cases(), st.sampled_from(MODES))
def test_edited_outputs_equal_those_of_the_edited_weight(case: Case, mode: NormPreservation) -> None:
    assume(mode in {"none", "pre"} or left(case, mode) > 1e-3)
    made = factors(in_blocks(case.weight, 64), case.direction, case.strength, mode)
    x = torch.randn(2, 3, case.weight.shape[1], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    by_activations = edit_output((made.c * x) @ case.weight.T, made)
    by_weight = x @ edit_weight(case.weight, case.direction, case.strength, mode).T
    assert close(by_activations, by_weight)


def test_rows_of_one_batch_can_have_different_edits() -> None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(3, 10, generator=generator, dtype=torch.float64), dim=-1)
    each = [factors(in_blocks(weight, 10), v, 0.5 + i, "rows") for i, v in enumerate(directions)]
    together = Factors(*(torch.stack(parts)[:, None] for parts in zip(*each, strict=True)))
    y = torch.randn(3, 4, 10, generator=generator, dtype=torch.float64)
    expected = torch.stack([edit_output(y[i], each[i]) for i in range(3)])
    assert close(edit_output(y, together), expected, 1e-14)
    assert not close(expected[0], edit_output(y[0], each[1]), 1e-3)  # the control: they differ


def test_an_output_keeps_its_dtype_but_is_computed_in_a_wider_one() -> None:
    direction = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(5)), dim=0)
    made = factors(in_blocks(torch.eye(64), 64), direction, 1, "none")
    y = torch.randn(9, 64, generator=torch.Generator().manual_seed(6)).to(torch.bfloat16)
    actual = edit_output(y, made)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, edit_output(y.double(), made).to(torch.bfloat16))


@CHECK
@given(cases(min_rows=2, zeros=False))
def test_an_edited_bias_equals_its_formula(case: Case) -> None:
    bias, v = case.weight[:, 0], case.direction
    expected = bias - case.strength * v * (v @ bias)
    assert close(edit_bias(bias, v, case.strength), expected, 1e-13)
    assert torch.equal(edit_bias(bias, v, 0), bias)
    assert torch.equal(edit_bias(bias, torch.zeros_like(v), 1), bias)
    assert abs(float(v @ edit_bias(bias, v, 1))) <= 1e-14 * float(bias.norm())


def test_a_bias_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a bias must have the shape of its direction, \[2\], got \[3\]"):
        edit_bias(torch.ones(3), torch.tensor([0.6, 0.8]), 1)
