"""The dtype follows the device and its memory; what a device cannot compute in is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unwrite.errors import UnwriteError
from unwrite.models import compute_dtype
from unwrite.models.compute_dtype import checkpoint_size, choose_dtype, slowdown, why_unsupported

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIGABYTE = 10**9


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
def test_a_cpu_computes_in_float32(stored: torch.dtype) -> None:
    assert choose_dtype("auto", stored, CPU, GIGABYTE, 100 * GIGABYTE) == torch.float32


def test_without_memory_for_float32_a_cpu_computes_as_stored_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="unwrite")
    needed = 2.5 * GIGABYTE  # twice the bytes, and a quarter for passes
    assert choose_dtype("auto", torch.bfloat16, CPU, GIGABYTE, int(needed)) == torch.float32
    assert caplog.messages == []
    assert choose_dtype("auto", torch.bfloat16, CPU, GIGABYTE, int(needed) - 1) == torch.bfloat16
    (message,) = caplog.messages
    assert message.startswith(
        "float32 needs about 2.5 GB of memory and 2.5 GB are free: computing in bfloat16 as stored"
    )


def test_a_checkpoint_in_float32_is_never_narrowed() -> None:
    assert choose_dtype("auto", torch.float32, CPU, GIGABYTE, 0) == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_an_accelerator_computes_as_stored_if_it_can(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    chosen = choose_dtype("auto", torch.bfloat16, CUDA, GIGABYTE, 0)
    assert chosen == (torch.bfloat16 if supported else torch.float16)
    monkeypatch.setattr(compute_dtype, "why_unsupported", lambda *_: pytest.fail("only bfloat16 may be missing"))
    for stored in (torch.float16, torch.float32):
        assert choose_dtype("auto", stored, CUDA, GIGABYTE, 0) == stored


def test_a_named_dtype_is_taken_whatever_the_memory() -> None:
    for name in ("bfloat16", "float16", "float32"):
        assert choose_dtype(name, torch.bfloat16, CPU, GIGABYTE, 0) == getattr(torch, name)


def test_a_named_dtype_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(
        UnwriteError, match=r"^model.dtype is bfloat16, which cuda does not compute in \(it has no inst.*"
    ):
        choose_dtype("bfloat16", torch.bfloat16, CUDA, GIGABYTE, 0)
    assert why_unsupported(torch.float16, CPU) == ""
    assert why_unsupported(torch.uint16, CPU)  # torch stores these numbers and does not multiply them


@pytest.mark.parametrize("name", ["float33", "nn"])
def test_an_unknown_dtype_is_a_bug(name: str) -> None:
    with pytest.raises(ValueError, match="dtype must be auto or the name of a torch dtype"):
        choose_dtype(name, torch.float32, CPU, 0, 0)


def test_only_the_weights_count(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    (tmp_path / "b.safetensors").write_bytes(b"123")
    (tmp_path / "tokenizer.json").write_bytes(b"1234567")
    assert checkpoint_size(tmp_path) == 8


def test_the_slowdown_compares_the_fastest_of_several_products() -> None:
    narrow = [(0.0, 9.0), (0.0, 8.0), (0.0, 12.0), (0.0, 8.5), (0.0, 30.0)]
    wide = [(0.0, 2.0), (0.0, 5.0), (0.0, 2.5), (0.0, 2.0), (0.0, 4.0)]
    times = iter([time for pair in [*narrow, *wide] for time in pair])
    assert slowdown(torch.bfloat16, lambda: next(times)) == 4.0
