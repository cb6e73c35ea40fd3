"""Writers of synthetic layers are found, refused with a reason, or merged if layers share them."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.expected_writers import Row
from tests.support.synthetic_layers import (
    EXPERTS,
    INNER,
    Artificial,
    CalledTwice,
    D,
    Flat,
    Layer,
    Listed,
    Mlp,
    Scale,
    SideBySide,
    Then,
    examined,
    layers_of,
)
from unwrite.errors import UnwriteError
from unwrite.models.discovery import writers as writers_module
from unwrite.models.discovery.findings import FoundNorm, FoundWriter
from unwrite.models.discovery.narrowing import VOCABULARY
from unwrite.models.discovery.writers import find_writers


def layer_norm(name: str, *, biased: bool = True) -> FoundNorm:
    """Return a LayerNorm with a scale, and with its bias if that goes with the writer."""
    return FoundNorm(name, f"{name}.weight", 0.0, centered=True, bias=f"{name}.bias" if biased else None)


class Both(nn.Module):
    """The sum of two MLPs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Mlp(), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x) + self.second(x)
        return y


def written(name: str, **fields: Any) -> list[FoundWriter]:
    """Return the writer of that name, an MLP's, in both layers."""
    row = Row(name, module=fields.pop("module", None), **fields)
    return row._replace(layers="01").within("layers")


FOUND: Mapping[str, tuple[Callable[[], Artificial], list[FoundWriter]]] = {
    "an MLP": (lambda: layers_of(Mlp), written("mlp.down.weight")),
    "a square matrix": (lambda: layers_of(lambda: Mlp(D)), written("mlp.down.weight")),
    "a square matrix, transposed": (
        lambda: layers_of(lambda: nn.Sequential(nn.Linear(D, D), nn.ReLU(), transposed(D))),
        written("mlp.2.weight", axis=1, bias="mlp.2.bias"),
    ),
    "experts side by side": (
        lambda: layers_of(SideBySide),
        written("mlp.down", axis=0, num_matrices=EXPERTS, module="mlp"),
    ),
    "flat experts, SiLU": (
        lambda: layers_of(lambda: Flat(nn.functional.silu)),
        written("mlp.down", axis=1, num_matrices=EXPERTS, module="mlp"),
    ),
    "flat experts, ReLU": (  # a zero inside an expert is not the border between two
        lambda: layers_of(lambda: Flat(torch.relu)),
        written("mlp.down", axis=1, num_matrices=EXPERTS, module="mlp"),
    ),
    "experts, some reached by no token": (
        lambda: layers_of(lambda: Listed(reached=4)),
        [row for n in range(EXPERTS) for row in written(f"mlp.experts.{n}.down.weight", module="mlp")],
    ),
    "a gate for each token": (
        lambda: layers_of(lambda: Then(lambda y, x, vector: y * (x @ vector).sigmoid()[..., None])),
        written("mlp.down.weight", multiplier=None),
    ),
    "a learned scale": (
        lambda: layers_of(lambda: Then(lambda y, _x, vector: y * vector[0])),
        written("mlp.down.weight", multiplier=None),
    ),
    "a scaled stream": (
        lambda: layers_of(Mlp, lambda stream, y: 0.5 * (stream + y)),
        written("mlp.down.weight", multiplier=0.5),
    ),
    "a norm": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D))),
        written("mlp.0.down.weight", norms=(("mlp.1", 0.0),)),
    ),
    "a chain of norms": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D), nn.RMSNorm(D))),
        written("mlp.0.down.weight", norms=(("mlp.1", 0.0), ("mlp.2", 0.0))),
    ),
    "a LayerNorm after the writer": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), nn.LayerNorm(D))),
        [
            one._replace(norms=(layer_norm(f"layers.{layer}.mlp.1"),))
            for layer, one in enumerate(written("mlp.0.down.weight"))
        ],
    ),
    "a LayerNorm after two writers": (  # its bias goes with the first
        lambda: layers_of(lambda: nn.Sequential(Both(), nn.LayerNorm(D))),
        [
            one._replace(norms=(layer_norm(f"layers.{layer}.mlp.1", biased=name == "first"),))
            for name in ("first", "second")
            for layer, one in enumerate(written(f"mlp.0.{name}.down.weight"))
        ],
    ),
    "a scale for each component, in a module": (
        lambda: layers_of(lambda: nn.Sequential(Mlp(), Scale(1.0))),
        [
            one._replace(norms=(FoundNorm(f"layers.{layer}.mlp.1", f"layers.{layer}.mlp.1.gamma", 1.0),))
            for layer, one in enumerate(written("mlp.0.down.weight"))
        ],
    ),
    "a module called twice in another": (
        lambda: layers_of(CalledTwice),
        written("mlp.down.weight", module="mlp"),
    ),
}


def transposed(inner: int) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    return Conv1D(D, inner)


@pytest.mark.parametrize("case", FOUND)
def test_writers_of_synthetic_layers_are_found(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, expected = FOUND[case][0](), FOUND[case][1]
    discovery = examined(model, monkeypatch)
    assert discovery.incomplete == []
    assert set(discovery.writers) == set(expected)
    assert len(discovery.writers) == len(expected)


def test_norm_without_parameters_has_scale_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = layers_of(lambda: nn.Sequential(Mlp(), nn.RMSNorm(D, elementwise_affine=False)))
    discovery = examined(model, monkeypatch)
    assert discovery.incomplete == []
    assert [writer.norms for writer in discovery.writers] == [
        (FoundNorm(f"layers.{layer}.mlp.1", None, 1.0),) for layer in range(2)
    ]


def scaled(y: Tensor, _x: Tensor, vector: Tensor) -> Tensor:
    return y * vector


def unscaled(y: Tensor, _x: Tensor, _vector: Tensor) -> Tensor:
    return y


class TwoMlps(nn.Module):
    """The sum of two MLPs that share one module, which runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.RMSNorm(D), nn.Linear(D, INNER), nn.Linear(INNER, D)

    def forward(self, hidden_states: Tensor) -> Tensor:
        inner = self.up(self.norm(hidden_states))
        stream: Tensor = hidden_states + self.down(torch.relu(inner)) + self.down(torch.relu(-inner))
        return stream


class TwoBiases(nn.Linear):
    def __init__(self) -> None:
        super().__init__(D, D)
        self.bias_too = nn.Parameter(torch.empty(D))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x) + self.bias_too
        return y


class WritesAfter(Artificial):
    """A model in which something writes the stream after the layers."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first, second)
        self.after = Mlp()

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream = super().forward(input_ids)
        y: Tensor = self.after(stream)
        return stream + y


class Backwards(Artificial):
    """A model that runs its last layer first, whatever its width."""

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream = self.embed(input_ids)
        for layer in reversed(self.layers):
            stream = layer(stream)
        y: Tensor = stream
        return y


class OfImages(Artificial):
    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        raise ValueError(f"give an image for {input_ids.shape}")


@pytest.mark.parametrize(
    ("model", "tried", "reason"),
    [
        (Backwards, 1, "does not run each of its 2 layers, in order"),
        (OfImages, 3, "give an image"),  # control: another width may run
    ],
)
def test_a_refusal_that_no_width_changes_ends_at_the_first_miniature(
    model: type[Artificial], tried: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Artificial]] = []

    def build() -> Artificial:
        assert all(earlier() is None for earlier in made)  # memory holds one at a time
        built = model(Layer(Mlp()), Layer(Mlp())).double().requires_grad_(False)
        made.append(weakref.ref(built))
        return built

    def miniatures(_config: Any) -> Iterator[Artificial]:
        for _ in range(3):
            yield build()

    monkeypatch.setattr(writers_module, "miniatures", miniatures)
    with pytest.raises(UnwriteError, match=reason):
        find_writers(Any)  # type: ignore[arg-type]  # the miniatures need no config
    assert len(made) == tried


def late(stream: Tensor, y: Tensor) -> Tensor:
    """Write something else too, from the 21st token on."""
    later = (torch.arange(stream.shape[1]) >= 20)[:, None]
    return stream + y + later * torch.linspace(1, 2, D)


def test_what_is_written_only_after_many_tokens_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = examined(layers_of(Mlp, late), monkeypatch).incomplete
    assert len(reasons) == 2
    assert "is not explained by mlp.down" in reasons[0]
    monkeypatch.setattr(writers_module, "_LENGTH", 16)  # control: fewer tokens do not show it
    assert examined(layers_of(Mlp, late), monkeypatch).incomplete == []


INEXACT: Mapping[str, tuple[Callable[[], Artificial], str]] = {
    "a LayerNorm after the sum": (
        lambda: layers_of(Mlp, lambda stream, y: nn.functional.layer_norm(stream + y, (D,))),
        "layer 0: .* not explained by any module; the layer's input does not reach its output unchanged",
    ),
    "a scale for each component": (
        lambda: layers_of(lambda: Then(scaled)),
        r"layer 0: mlp \(Then\) cannot be edited exactly: none of its parameters writes along one axis",
    ),
    "a scale for each component, in the layer": (
        lambda: layers_of(Mlp, lambda stream, y: stream + y * torch.linspace(1, 2, D)),
        "layer 0: .* not explained by any module; each component is scaled separately after mlp.down",
    ),
    "a constant": (
        lambda: layers_of(Mlp, lambda stream, y: stream + y + 0.5),
        r"layer 0: .* not explained by mlp.down \(Linear\)",
    ),
    "a bounded stream": (
        lambda: layers_of(Mlp, lambda stream, y: torch.tanh(stream + y)),
        "layer 0: .* not explained by any module; the layer's input does not reach its output unchanged",
    ),
    "a module called twice": (lambda: Artificial(TwoMlps(), TwoMlps()), "layer 0: .* not explained by any module"),
    "two biases for one weight": (
        lambda: layers_of(lambda: nn.Sequential(nn.ReLU(), TwoBiases())),
        r"layer 0: mlp.1 \(TwoBiases\) cannot be edited exactly: bias.* is a second bias",
    ),
    "something after the layers": (
        lambda: WritesAfter(Layer(Mlp()), Layer(Mlp())),
        r"after\.down runs after the layers and can write the stream",
    ),
    "something between layers": (
        lambda: Artificial(Layer(Mlp()), Layer(Mlp()), between=1e-3),
        "something writes the stream between layers 0 and 1",
    ),
}


@pytest.mark.parametrize("case", INEXACT)
def test_layers_without_an_exact_edit_are_listed_with_the_reason(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reason = INEXACT[case]
    discovery = examined(make(), monkeypatch)
    assert re.match(reason, discovery.incomplete[0])
    if "layers" not in case:
        assert [found.split(":")[0] for found in discovery.incomplete] == ["layer 0", "layer 1"]


def test_similar_layer_that_cannot_be_edited_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Layer(Then(unscaled)), Layer(Then(scaled))
    discovery = examined(Artificial(first, second), monkeypatch)
    assert [writer.parameter for writer in discovery.writers] == ["layers.0.mlp.down.weight"]
    assert len(discovery.incomplete) == 1
    assert discovery.incomplete[0].startswith("layer 1: ")
    assert examined(Artificial(first, Layer(Then(unscaled))), monkeypatch).incomplete == []


def test_similar_layer_that_writes_differently_is_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Either(nn.Module):
        """A square matrix, or its transpose."""

        def __init__(self, transposed_weight: bool) -> None:
            super().__init__()
            self.weight, self.transposed_weight = nn.Parameter(torch.empty(D, D)), transposed_weight

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x.relu() @ (self.weight if self.transposed_weight else self.weight.T)
            return y

    discovery = examined(Artificial(Layer(Either(False)), Layer(Either(True))), monkeypatch)
    assert discovery.incomplete == []
    assert [(writer.parameter, writer.axis) for writer in discovery.writers] == [
        ("layers.0.mlp.weight", 0),
        ("layers.1.mlp.weight", 1),
    ]


def test_parameter_that_layers_share_is_one_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Mlp(), Mlp()
    other.down.weight = one.down.weight
    (tied,) = examined(Artificial(Layer(one), Layer(other)), monkeypatch).writers
    assert (tied.parameter, tied.layer, tied.shared_layers) == ("layers.0.mlp.down.weight", 0, (1,))
    layer = Layer(one)
    (same,) = examined(Artificial(layer, layer), monkeypatch).writers
    assert (same.parameter, same.layer, same.shared_layers) == ("layers.0.mlp.down.weight", 0, (1,))


def test_parameter_shared_with_the_embedding_is_listed_as_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    down = transposed(VOCABULARY)
    model = Artificial(Layer(Mlp()), Layer(nn.Sequential(nn.Linear(D, VOCABULARY), nn.ReLU(), down)))
    down.weight = model.embed.weight
    assert examined(model, monkeypatch).incomplete == [
        "layer 1: embed.weight and layers.1.mlp.2.weight are one parameter: editing one would edit the other"
    ]


class LeftOut(Artificial):
    """A model whose second layer does not run."""

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        stream: Tensor = self.layers[0](self.embed(input_ids))
        return stream


def test_model_that_skips_a_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match="LeftOut does not run each of its 2 layers, in order: 1 ran"):
        examined(LeftOut(Layer(Mlp()), Layer(Mlp())), monkeypatch)


def test_model_without_a_list_of_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnwriteError, match=r"Sequential has no decoder stack\. Use a decoder-only model"):
        examined(nn.Sequential(nn.Embedding(VOCABULARY, D), Layer(Mlp())), monkeypatch)
