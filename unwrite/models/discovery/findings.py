"""The records of what discovery finds in a model: norms, writers, and the whole result."""

from __future__ import annotations

from typing import NamedTuple

from unwrite.terms import Component


class FoundNorm(NamedTuple):
    """A norm, or a learned scale of each component, between writer and stream: y = γ∘x̂ + β.

    Its effective scale γ is `offset` + its parameter (ones without one). `centered` is whether it subtracts the mean.
    `bias` is the parameter β; of several writers before one norm, the first has it.
    """

    module: str
    parameter: str | None
    offset: float
    centered: bool = False
    bias: str | None = None


class FoundWriter(NamedTuple):
    """A parameter that writes the stream, by its names in the model.

    `module` is the module whose output it writes. `axis` is the hidden axis, `num_matrices` the number of matrices
    [d, k] that the parameter holds (experts). `multiplier` is None where it is learned, or where a gate makes it differ
    between tokens. `shared_layers` are the other layers that use the same parameter.
    """

    module: str
    parameter: str
    axis: int
    num_matrices: int
    bias: str | None
    bias_axis: int
    layer: int
    component: Component
    multiplier: float | None
    norms: tuple[FoundNorm, ...]
    shared_layers: tuple[int, ...] = ()


class Discovery(NamedTuple):
    """Every writer, the largest share of a layer's output that they leave unexplained, and what cannot be edited.

    `streams` is the number of residual streams; of several, the residual is their mean.
    """

    architecture: str
    layers: int
    hidden_size: int
    vocabulary: int
    writers: list[FoundWriter]
    unexplained: float
    incomplete: list[str]
    padding_sensitive: bool
    streams: int = 1
