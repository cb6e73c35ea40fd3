"""Recognize a norm by what it computes: its scale, its bias, and whether it subtracts the mean."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unwrite.models.discovery.findings import FoundNorm
from unwrite.models.discovery.probes import EXACT, TOLERANCE, RecordedLayer, rerun, seeded


class _Affine(NamedTuple):
    """γ and β, [d] each, of y = γ∘x + β."""

    scale: Tensor
    bias: Tensor


def find_norm(recorded: RecordedLayer, name: str) -> FoundNorm | None:
    """Return a module as a norm, y = γ∘x̂ + β, or as a learned scale of each component, y = γ∘x + β.

    x̂ is x / rms(x), or LayerNorm's (x − mean(x)) / std(x); γ is one of the module's parameters plus a constant, or a
    constant; β is a parameter of the module itself, or zero. All are compensated for alike (`core.directions`). None is
    anything else, a factor that all components share included.
    """
    module, call = recorded.module(name), recorded.calls[name]
    given = call.args[0] if call.args else None
    if (
        not isinstance(given, Tensor)
        or given.shape[-1] != call.output.shape[-1]
        or given.numel() != call.output.numel()
    ):
        return None
    # So large that the ε under the root, which guards against division by zero, does not show.
    x = 1024 * torch.randn(given.shape, generator=seeded(4), dtype=torch.float64)
    y = rerun(module, call._replace(args=(x, *call.args[1:])))
    x = x.reshape(y.shape)
    centered = x - x.mean(-1, keepdim=True)
    for is_centered, values in ((False, x), (True, centered)):
        fit = _fit(values / values.square().mean(-1, keepdim=True).sqrt(), y, TOLERANCE)
        if fit is not None:
            return _as_found_norm(name, module, fit, is_centered=is_centered)
    fit = _fit(x, y, EXACT)  # no root, and no ε under it
    found = None if fit is None else _as_found_norm(name, module, fit, is_centered=False)
    return None if found is None or found.parameter is None else found


def _fit(x: Tensor, y: Tensor, tolerance: float) -> _Affine | None:
    """Return γ and β if y = γ∘x + β for every token up to a relative tolerance, else None."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    scale = ((y - mean_y) * (x - mean_x)).sum(0) / (x - mean_x).square().sum(0)
    bias = mean_y - scale * mean_x
    exact = float((y - scale * x - bias).abs().max()) < tolerance * float((scale * x).abs().max())
    return _Affine(scale, bias) if exact else None


def _as_found_norm(name: str, module: nn.Module, fit: _Affine, *, is_centered: bool) -> FoundNorm | None:
    """Return a norm if γ and β are those of its parameters; else None."""
    size = float(fit.scale.abs().max())
    if float(fit.bias.abs().max()) < TOLERANCE * size:
        bias = None
    else:
        own = [key for key, p in module.named_parameters(recurse=False) if p.shape == fit.bias.shape]
        equal = [key for key in own if float((fit.bias - module.get_parameter(key)).abs().max()) < TOLERANCE * size]
        if not equal:
            return None
        bias = f"{name}.{equal[0]}"
    candidates: list[tuple[str | None, Tensor]] = [(None, torch.zeros_like(fit.scale))]
    candidates += [(f"{name}.{key}", p.data) for key, p in module.named_parameters() if p.shape == fit.scale.shape]
    for parameter, value in candidates:
        offset = fit.scale - value
        if float(offset.max() - offset.min()) < TOLERANCE:
            constant = round(float(offset.mean()), 6) + 0.0  # no −0
            return FoundNorm(name, parameter, constant, is_centered, bias)
    return None
