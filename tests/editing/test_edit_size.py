"""The size of an edit: Frobenius norms of stored values, however they were cut into blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unwrite.editing.edit_size import EditSize, EditSizes, block_squares
from unwrite.files.safetensors import StoredTensor


def stored(values: Tensor) -> bytes:
    return bytes(values.contiguous().view(torch.uint8).flatten().tolist())


def tensors(dtype: str, *names: str) -> dict[str, StoredTensor]:
    return {name: StoredTensor(Path("model.safetensors"), dtype, (6, 8), 0) for name in names}


@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "F32"), (torch.bfloat16, "BF16"), (torch.float64, "F64")])
def test_norms_are_those_of_numpy(dtype: torch.dtype, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 8, generator=generator).to(dtype)
    edited = (base * 0.7).to(dtype)
    sizes = EditSizes(tensors(name, "w", "untouched"))
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        sizes.add("w", stored(base[rows]), stored(edited[rows]))
    (size,) = sizes.sizes()
    before, after = base.double().numpy(), edited.double().numpy()
    assert size.norm == pytest.approx((before**2).sum() ** 0.5, rel=1e-5)
    assert size.change == pytest.approx(((after - before) ** 2).sum() ** 0.5, rel=1e-5)
    assert size.relative == pytest.approx(size.change / size.norm)


def test_a_block_that_stays_has_no_change_and_is_not_altered() -> None:
    values = stored(torch.arange(5.0))
    assert block_squares(values, values, torch.float32) == (30.0, 0.0)
    assert values == stored(torch.arange(5.0))


def test_sizes_are_in_the_order_of_the_checkpoint() -> None:
    sizes = EditSizes(tensors("F32", "a", "b"))
    for name in ("b", "a"):
        sizes.add(name, stored(torch.ones(4)), stored(torch.zeros(4)))
    assert sizes.sizes() == [EditSize("a", 2.0, 2.0), EditSize("b", 2.0, 2.0)]
    assert sizes.sizes()[0].relative == 1.0


def test_a_tensor_of_zeros_has_a_relative_size_of_zero() -> None:
    assert EditSize("w", 0.0, 0.0).relative == 0.0
