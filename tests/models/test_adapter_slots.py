"""The tensors of a slot multiply to the product of the factors; how PEFT reads them is tested in test_peft.py."""

from __future__ import annotations

import pytest
import torch

from unwrite.models.adapter_slots import Slot, slot_tensors


@pytest.mark.parametrize("hidden_last", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_tensors_multiply_to_the_products_of_the_factors(hidden_last: bool, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [(torch.randn(5, 2, generator=generator), torch.randn(2, 3, generator=generator)) for _ in range(count)]
    tensors = slot_tensors(Slot("m", rank=4, hidden_last=hidden_last, bias=0), factors, None)
    assert set(tensors) == {"m.lora_A.weight", "m.lora_B.weight"}
    A = tensors["m.lora_A.weight"].reshape(count, 4, -1)  # the matrices one after the other
    B = tensors["m.lora_B.weight"].reshape(-1, 4, count)  # the matrices interleaved
    for number, (P, Q) in enumerate(factors):
        product = B[:, :, number] @ A[number]
        torch.testing.assert_close(product if hidden_last else product.T, P @ Q)


def test_module_without_an_edited_bias_adds_zeros_if_others_have_one() -> None:
    slot = Slot("m", rank=2, hidden_last=True, bias=5)
    assert torch.equal(
        slot_tensors(slot, [(torch.ones(5, 1), torch.ones(1, 3))], None)["m.lora_B.bias"], torch.zeros(5)
    )


def test_factors_are_padded_with_zeros_and_share_no_memory() -> None:
    P, Q = torch.rand(5, 1), torch.rand(1, 3)
    slot = Slot("m", rank=2, hidden_last=True, bias=0)
    tensors = slot_tensors(slot, [(P, Q)], None)
    A, B = tensors["m.lora_A.weight"], tensors["m.lora_B.weight"]
    assert (A.shape, B.shape) == ((2, 3), (5, 2))
    torch.testing.assert_close(B @ A, P @ Q)
    other = slot_tensors(slot._replace(name="n"), [(P, Q)], None)["n.lora_A.weight"]
    assert len({one.data_ptr() for one in (A, B, P, Q, other)}) == 5
