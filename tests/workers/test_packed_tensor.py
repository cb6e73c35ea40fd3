"""A packed tensor is the tensor again on the other side, to the bit, also where NumPy lacks its dtype."""

import pickle

import pytest
import torch

from unwrite.workers.packed_tensor import pack, unpack

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.int64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_comes_back_to_the_bit(dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    again = unpack(pickle.loads(pickle.dumps(pack(tensor))))
    assert again.dtype == dtype
    assert torch.equal(again, tensor)


def test_it_is_sent_without_a_copy_and_arrives_in_memory_of_its_own() -> None:
    tensor = torch.ones(4, 3)
    packed, buffers = pack(tensor), list[pickle.PickleBuffer]()
    sent = pickle.dumps(packed, protocol=5, buffer_callback=buffers.append)
    assert packed.data.ctypes.data == tensor.data_ptr()
    assert [len(buffer.raw()) for buffer in buffers] == [tensor.nbytes]
    assert len(sent) < 1000
    again = unpack(packed)
    again[0] = 7
    assert tensor[0, 0] == 1


def test_a_tensor_that_is_not_contiguous_comes_back_too() -> None:
    tensor = torch.arange(12.0).view(3, 4).T
    assert torch.equal(unpack(pack(tensor)), tensor)
