"""Small layers h → h + branch(norm(h)), each with something that an architecture might have."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unwrite.models.captured_layers import CalledLayer
from unwrite.models.discovery import writers as writers_module
from unwrite.models.discovery.findings import Discovery
from unwrite.models.discovery.narrowing import VOCABULARY
from unwrite.models.discovery.probes import RecordedLayer, record_layer
from unwrite.models.discovery.writers import find_writers

D, INNER, EXPERTS = 16, 24, 6
Add = Callable[[Tensor, Tensor], Tensor]


class Mlp(nn.Module):
    """up, ReLU, down."""

    def __init__(self, inner: int = INNER) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(D, inner), nn.Linear(inner, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(torch.relu(self.up(x)))
        return y


class Then(Mlp):
    """The output goes through a function of itself, the branch's input and a parameter [d]."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.vector, self.function = nn.Parameter(torch.empty(D)), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(super().forward(x), x, self.vector)


class Routed(nn.Module):
    """Experts: each token chooses two of the first `reached`."""

    def __init__(self, reached: int = EXPERTS) -> None:
        super().__init__()
        self.router, self.reached = nn.Linear(D, EXPERTS, bias=False), reached

    def shares(self, x: Tensor) -> Tensor:
        """Return the weight of each expert, [..., E]: two are not zero."""
        scores = self.router(x)
        scores[..., self.reached :] = -torch.inf
        top = scores.topk(2)
        return torch.zeros_like(scores).scatter(-1, top.indices, top.values.softmax(-1))


class SideBySide(Routed):
    """Down projections fused [d, E, k]."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(EXPERTS, 8, D))
        self.down = nn.Parameter(torch.empty(D, EXPERTS, 8))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(torch.einsum("ekd,...d->...ek", self.up, x))
        return torch.einsum("dek,...ek,...e->...d", self.down, inner, self.shares(x))


class Flat(Routed):
    """Down projections one after the other, [E·k, d]."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.up, self.activation = nn.Parameter(torch.empty(EXPERTS, 8, D)), activation
        self.down = nn.Parameter(torch.empty(EXPERTS * 8, D))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(torch.einsum("ekd,...d->...ek", self.up, x)) * self.shares(x)[..., None]
        return inner.flatten(-2) @ self.down


class Listed(Routed):
    """Experts as separate modules, each called with its own tokens; some get none."""

    def __init__(self, reached: int) -> None:
        super().__init__(reached)
        self.experts = nn.ModuleList(Mlp() for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        shares, y = self.shares(x), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            chosen = shares[..., number] > 0
            if chosen.any():
                y[chosen] += shares[chosen][:, number, None] * expert(x[chosen])
        return y


class Scale(nn.Module):
    """A learned scale of each component."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.gamma, self.offset = nn.Parameter(torch.empty(D)), offset

    def forward(self, x: Tensor) -> Tensor:
        return (self.offset + self.gamma) * x


class CalledTwice(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(-x)


class Layer(nn.Module):
    """h → add(h, branch(norm(h)))."""

    def __init__(self, mlp: nn.Module, add: Add = torch.add) -> None:
        super().__init__()
        self.norm, self.mlp, self.add = nn.RMSNorm(D), mlp, add

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.add(hidden_states, self.mlp(self.norm(hidden_states)))


class Artificial(nn.Module):
    """A model of two layers."""

    def __init__(self, first: nn.Module, second: nn.Module, between: float = 0.0) -> None:
        super().__init__()
        self.embed, self.between = nn.Embedding(VOCABULARY, D), between
        self.layers = nn.ModuleList([first, second])

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        first, second = self.layers
        stream: Tensor = second(first(self.embed(input_ids)) + self.between)
        return stream


def layers_of(branch: Callable[[], nn.Module], add: Add = torch.add) -> Artificial:
    """A model of two layers with such a branch."""
    return Artificial(Layer(branch(), add), Layer(branch(), add))


class Streams(nn.Module):
    """X → M X + m yᵀ on S streams, y = branch(norm(mix of streams)); a norm of all streams decides mix, M and m.

    `add` takes M X, the numbers m [..., S, 1] and y [..., 1, d].
    """

    def __init__(
        self, mlp: nn.Module, streams: int, add: Callable[[Tensor, Tensor, Tensor], Tensor], *, flat: bool = False
    ) -> None:
        super().__init__()
        self.norm, self.mlp, self.streams, self.add, self.flat = nn.RMSNorm(D), mlp, streams, add, flat
        self.gates = nn.Parameter(torch.empty(2 * streams + streams**2, streams * D))

    def forward(self, hidden_states: Tensor) -> Tensor:
        streams = hidden_states.reshape(*hidden_states.shape[:2], self.streams, D)
        flat = streams.flatten(-2)
        gates = torch.sigmoid(flat / flat.square().mean(-1, keepdim=True).sqrt() @ self.gates.T)
        mix, m, M = gates.tensor_split([self.streams, 2 * self.streams], -1)
        y = self.mlp(self.norm((mix[..., None] * streams).sum(-2)))
        after = self.add(M.reshape(*M.shape[:2], self.streams, -1) @ streams, m[..., None], y[..., None, :])
        return after.flatten(-2) if self.flat else after


def recorded_layer(layer: nn.Module, shape: tuple[int, ...] = (), streams: int = 1) -> RecordedLayer:
    """A layer with random values in float64, and a recorded call of it on two prompts of seven tokens.

    `shape` is that of what the layer gets of one token, and `streams` their number: one of width D by default.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    layer.eval().requires_grad_(False)
    stream = torch.randn(2, 7, *(shape or (D,)), generator=generator, dtype=torch.float64)
    return record_layer(CalledLayer("layers.0", layer, (stream,), {}, streams))


def examined(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Discovery:
    """The discovery of a model that stands in for its own miniature."""
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    model.double().eval().requires_grad_(False)
    monkeypatch.setattr(writers_module, "miniatures", lambda _config: iter([model]))
    text = SimpleNamespace(hidden_size=D, vocab_size=VOCABULARY)
    config: Any = SimpleNamespace(get_text_config=lambda: text)
    return find_writers(config)
