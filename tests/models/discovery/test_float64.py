"""Inside `float64_throughout`, no cast, factory or default gives a smaller dtype; outside, nothing changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.support.zoo import zoo_model
from unwrite.models.discovery.float64 import float64_throughout

X = torch.linspace(0.1, 1.7, 7, dtype=torch.float64)
THIRD = torch.tensor(1 / 3, dtype=torch.float64)

CASTS: dict[str, tuple[Callable[[], Tensor], torch.dtype]] = {  # code in a model, and its dtype outside
    "float()": (X.float, torch.float32),
    "half()": (X.half, torch.float16),
    "bfloat16()": (X.bfloat16, torch.bfloat16),
    "to(dtype)": (lambda: X.to(torch.float32), torch.float32),
    "to(dtype=)": (lambda: X.to(dtype=torch.bfloat16), torch.bfloat16),
    "to(device, dtype)": (lambda: X.to("cpu", torch.float16), torch.float16),
    "type(dtype)": (lambda: X.type(torch.float32), torch.float32),
    "softmax(dtype=)": (lambda: nn.functional.softmax(X, dim=-1, dtype=torch.float32), torch.float32),
    "mean(dtype=)": (lambda: X.mean(dtype=torch.float32), torch.float32),
    "zeros(dtype=)": (lambda: torch.zeros(2, dtype=torch.float32), torch.float32),
    "arange(dtype=)": (lambda: torch.arange(0, 4, dtype=torch.float32), torch.float32),
    "a factory's default": (lambda: torch.ones(2), torch.float32),
    "numbers": (lambda: torch.tensor([0.5, 0.25]), torch.float32),
    "a division of whole numbers": (lambda: torch.arange(3) / 2, torch.float32),
}


@pytest.mark.parametrize("case", CASTS)
def test_result_is_float64_inside_and_unchanged_outside(case: str) -> None:
    make, outside = CASTS[case]
    assert make().dtype == outside
    with float64_throughout():
        assert make().dtype == torch.float64
    assert make().dtype == outside


def test_casts_lose_no_digit() -> None:
    assert THIRD.float().double() != THIRD
    with float64_throughout():
        assert torch.equal(THIRD.float().bfloat16().to(torch.float16), THIRD)


def test_integers_booleans_and_complex_numbers_are_left_alone() -> None:
    with float64_throughout():
        assert X.to(torch.int32).dtype == torch.int32
        assert torch.zeros(2, dtype=torch.bool).dtype == torch.bool
        assert X.long().dtype == torch.int64
        assert torch.view_as_complex(torch.zeros(3, 2, dtype=torch.float64)).dtype == torch.complex128


def test_default_dtype_is_restored_after_an_error() -> None:
    before = torch.get_default_dtype()
    with pytest.raises(RuntimeError, match="must match"), float64_throughout():
        torch.ones(2) + torch.ones(3)
    assert torch.get_default_dtype() == before
    assert X.float().dtype == torch.float32


@torch.no_grad()
def test_norm_that_casts_to_float32_is_exact_inside() -> None:
    norm = zoo_model("llama", torch.float64).model.layers[0].input_layernorm
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    with float64_throughout():
        inside = norm(x)
    assert float((inside - expected).abs().max()) < 1e-14
    assert float((norm(x) - expected).abs().max()) > 1e-9


@torch.no_grad()
@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "mamba2", "qwen3_next", "gemma3_text"])
def test_whole_model_has_the_rounding_of_float64(name: str) -> None:
    # Slightly shifted inputs show the rounding: the second difference is of the order of ε² without it.
    model = zoo_model(name, torch.float64)
    stream = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nudge = 1e-10 * torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def curvature() -> float:
        """Return |f(x + ε) − 2 f(x) + f(x − ε)|, of the order of ε² apart from rounding."""
        above, middle, below = (
            model(inputs_embeds=stream + sign * nudge, use_cache=False).logits.double() for sign in (1, 0, -1)
        )
        return float((above - 2 * middle + below).abs().max())

    with float64_throughout():
        assert curvature() < 1e-12
    assert curvature() > 1e-8
