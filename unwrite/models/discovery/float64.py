"""Compute everything in float64, even what a model itself casts to float32.

Norms, routers, rotary tables and states often leave the model's dtype for float32, whose rounding of 1e-7 would hide
what is to be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode

_LOW = (torch.float32, torch.bfloat16, torch.float16)
_CASTS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.float: torch.Tensor.double,
    torch.Tensor.half: torch.Tensor.double,
    torch.Tensor.bfloat16: torch.Tensor.double,
}


class float64_throughout(TorchFunctionMode):  # noqa: N801  (a context manager, named as one)
    """While open, torch functions use float64 where they are asked for a smaller floating dtype, or for none."""

    def __enter__(self) -> Self:
        """Make float64 the default dtype as well."""
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().__enter__()  # type: ignore[no-untyped-call]  # torch's
        return self

    def __exit__(self, *error: Any) -> None:
        """Restore the default dtype."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch's
        torch.set_default_dtype(self._default)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func` with float64 in place of smaller dtypes."""
        return _CASTS.get(func, func)(*map(_widened, args), **{k: _widened(v) for k, v in (kwargs or {}).items()})


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _LOW else value
