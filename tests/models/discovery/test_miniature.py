"""Miniatures have the same modules, are narrow, hold values in one layer at a time, and leave the config unchanged."""

from __future__ import annotations

import copy
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from tests.support.large import LARGE, large_config
from tests.support.tiny import tiny_config
from tests.support.zoo import zoo_config
from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import run_model
from unwrite.models.discovery import miniature as miniature_module
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.miniature import build_on_meta, filled, filled_while_run, miniatures
from unwrite.models.discovery.narrowing import VOCABULARY
from unwrite.models.discovery.writers import find_writers
from unwrite.models.layers import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])
WIDE = {  # large enough to be narrowed
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}


def first_that_runs(config: PreTrainedConfig) -> PreTrainedModel:
    for model in miniatures(config):
        try:
            run(model)
        except UnwriteError:
            continue
        return model
    raise AssertionError("no miniature runs")


@torch.no_grad()
def run(model: PreTrainedModel) -> list[float]:
    """Run the model and return the norm of each layer's output."""
    sizes: list[float] = []

    def note(_module: nn.Module, _args: Any, output: Any) -> None:
        sizes.append(float((output if isinstance(output, torch.Tensor) else output[0]).norm()))

    hooks = [layer.register_forward_hook(note) for layer in decoder_layers(model)]
    try:
        with float64_throughout(), filled_while_run(model):
            run_model(model, {"input_ids": TOKENS})
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parameter_bytes(module: nn.Module) -> int:
    """Return the number of bytes that a module's parameters occupy."""
    return sum(parameter.untyped_storage().nbytes() for parameter in module.parameters())


BILLIONS = {
    "Llama 3.1 405B": 406,
    "Qwen3 30B-A3B": 30.5,
    "gpt-oss 120B": 117,
    "DeepSeek-V3": 671,
    "Gemma 3 27B": 27.4,
    "Falcon-H1 34B": 33.6,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_model_has_a_miniature_with_the_same_modules(name: str) -> None:
    config = large_config(name)
    before, attention = copy.deepcopy(config.to_dict()), config._attn_implementation
    full = build_on_meta(config)
    assert parameters(full) == pytest.approx(BILLIONS[name] * 1e9, rel=0.02)
    model = first_that_runs(config)
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in full.named_modules()]
    layers = decoder_layers(model)
    assert max(map(parameters, layers)) <= 4_000_000
    sizes = run(model)
    assert len(sizes) == len(layers) == len(decoder_layers(full))
    assert all(0 < size < float("inf") for size in sizes)
    assert max(map(parameter_bytes, layers)) < 10_000  # while they do not run
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert not model.training
    assert config.to_dict() == before
    assert config._attn_implementation == attention


def test_writers_of_a_large_model_are_found() -> None:
    discovery = find_writers(large_config("Gemma 3 27B"))
    assert discovery.incomplete == []
    assert discovery.unexplained < 1e-5
    assert (discovery.layers, discovery.hidden_size, discovery.vocabulary) == (62, 5376, 262208)
    assert [
        (w.module.rpartition("layers.")[2], w.component, [norm.offset for norm in w.norms]) for w in discovery.writers
    ] == [
        (f"{layer}.{name}", component, [1.0])
        for layer in range(62)
        for name, component in (("self_attn.o_proj", "attention"), ("mlp.down_proj", "mlp"))
    ]


class WithEncoder(nn.Module):
    """Two layers whose stream begins with what a wide encoder makes of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.encoder = nn.Embedding(128, 600), nn.Linear(600, 2000)
        self.layers = nn.ModuleList(nn.Linear(2000, 2000) for _ in range(2))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        stream: torch.Tensor = self.encoder(self.embed(input_ids))
        for layer in self.layers:
            stream = layer(stream)
        return stream


@torch.no_grad()
def test_wide_matrices_outside_the_layers_take_almost_no_memory() -> None:
    model = WithEncoder().double().requires_grad_(False)
    held: list[int] = []
    model.layers[0].register_forward_hook(lambda layer, *_: held.append(layer.weight.untyped_storage().nbytes()))
    with filled_while_run(model):
        output = model(TOKENS)
    encoder = model.encoder.weight
    assert encoder.untyped_storage().nbytes() < 10 * sum(encoder.shape)
    assert held == [8 * 2000 * 2000]  # control: a layer's matrix has all of its values while it runs
    assert model.embed.weight.untyped_storage().nbytes() == 8 * 128 * 600
    assert torch.linalg.matrix_rank(encoder[:40, :40]) == 40
    assert 0 < output.norm() < float("inf")


@pytest.mark.parametrize("size", [1_000_003, 1009])  # more and fewer numbers than a layer needs
@torch.no_grad()
def test_values_from_the_pool_differ_between_layers_and_experts_and_are_the_same_each_time(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(miniature_module, "_POOL", size)
    model = next(miniatures(zoo_config("mixtral")))
    seen: list[torch.Tensor] = []

    def look(layer: nn.Module, _args: Any) -> None:
        seen.append(torch.cat([parameter.flatten() for parameter in layer.parameters()]))

    for _ in range(2):
        with filled_while_run(model, from_pool=True):
            hooks = [layer.register_forward_pre_hook(look) for layer in decoder_layers(model)]
            run_model(model, {"input_ids": TOKENS})
        for hook in hooks:
            hook.remove()
    first, second, third, *again = seen
    assert [torch.equal(one, two) for one, two in zip((first, second, third), again, strict=True)] == [True] * 3
    assert len({round(float(values[0]), 12) for values in (first, second, third)}) == 3
    experts = first[-8 * 32 * 16 :].reshape(8, -1)
    assert len({tuple(row) for row in experts[:, :3].tolist()}) == 8
    assert 0.05 < float(first.std()) < 2


def test_small_model_is_its_own_miniature() -> None:
    config = zoo_config("mixtral")
    (model,) = miniatures(config)
    assert [(n, p.shape) for n, p in model.named_parameters()] == [
        (n, p.shape) for n, p in build_on_meta(config).named_parameters()
    ]


def test_smallest_miniature_is_first() -> None:
    sizes = [
        max(map(parameters, decoder_layers(model))) for model in islice(miniatures(tiny_config("llama", **WIDE)), 4)
    ]
    assert len(sizes) > 1
    assert sizes == sorted(sizes)
    assert sizes[0] < parameters(decoder_layers(build_on_meta(tiny_config("llama", **WIDE)))[0]) / 100


def test_filled_layer_has_the_same_values_each_time_and_only_while_open() -> None:
    layers = decoder_layers(next(miniatures(zoo_config("mixtral"))))

    def values(layer: nn.Module, seed: int) -> torch.Tensor:
        with filled(layer, seed):
            return torch.cat([parameter.flatten() for parameter in layer.parameters()])

    first = values(layers[0], 0)
    assert torch.equal(values(layers[0], 0), first)
    assert torch.equal(values(layers[1], 0), first)
    assert float((values(layers[0], 1) - first).abs().mean()) > 0.01
    assert parameter_bytes(layers[0]) < 10_000 < first.numel() * 8
    with pytest.raises(ZeroDivisionError), filled(layers[0], 0):
        _ = 1 / 0
    assert parameter_bytes(layers[0]) < 10_000


def test_running_layer_has_the_values_that_filled_gives() -> None:
    model = next(miniatures(zoo_config("llama")))
    seen = []

    def look(layer: nn.Module, _args: Any) -> None:
        seen.append(torch.cat([parameter.flatten() for parameter in layer.parameters()]))

    layers = decoder_layers(model)
    with filled_while_run(model):
        hooks = [layer.register_forward_pre_hook(look) for layer in layers]
        run_model(model.double(), {"input_ids": TOKENS})
    for hook in hooks:
        hook.remove()
    for index, layer in enumerate(layers):
        with filled(layer, index):
            assert torch.equal(torch.cat([parameter.flatten() for parameter in layer.parameters()]), seen[index])
    assert run(model) == run(model)


ROTARY: dict[str, tuple[str, dict[str, Any]]] = {  # model type, what its rotary embedding is like
    "llama3": (
        "llama",
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 5e5}
        | {"original_max_position_embeddings": 8192},
    ),
    "yarn": (
        "qwen2",
        {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 64},
    ),
    "dynamic": ("llama", {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
    "a table as long as the head is wide": (
        "phi3",
        {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.5] * 32, "long_factor": [4.0] * 32}
        | {"original_max_position_embeddings": 64, "partial_rotary_factor": 1.0},
    ),
}


@pytest.mark.parametrize("case", ROTARY)
def test_rotary_embeddings_fit_the_narrow_head(case: str) -> None:
    kind, rope = ROTARY[case]
    changes: dict[str, Any] = {"original_max_position_embeddings": 64} if kind == "phi3" else {}
    config = tiny_config(kind, **WIDE, **changes, rope_parameters=rope)
    assert max(map(parameters, decoder_layers(first_that_runs(config)))) < 500_000


@pytest.mark.parametrize("sections", [[16, 24, 24], [24, 20, 20]])
def test_sections_of_a_rotary_embedding_fit_the_narrow_head(sections: list[int]) -> None:
    from transformers import AutoConfig

    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    text = {"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "rope_parameters": rope}
    config = AutoConfig.for_model("qwen2_5_vl", text_config={**text, "num_hidden_layers": 2})
    assert max(map(parameters, decoder_layers(first_that_runs(config)))) < 500_000


def test_every_special_token_is_in_the_vocabulary() -> None:
    config = tiny_config("llama", **WIDE, pad_token_id=31999, bos_token_id=31000, eos_token_id=[31001, 31002])
    model = first_that_runs(config)
    ids = (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id)
    assert all(0 <= token < VOCABULARY for token in ids)
    embeddings: Any = model.get_input_embeddings()
    assert len(embeddings.weight) == VOCABULARY


def test_widths_listed_per_layer_are_narrowed() -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model("gemma3n_text")
    text = next(miniatures(config)).config.get_text_config()
    assert len(text.intermediate_size) == len(config.intermediate_size) == config.num_hidden_layers
    shares = {narrow / wide for narrow, wide in zip(text.intermediate_size, config.intermediate_size, strict=True)}
    assert shares == {text.hidden_size / config.hidden_size}
    assert text.layer_types == config.layer_types


@pytest.mark.parametrize("kind", ["t5", "bart", "whisper"])
def test_an_encoder_and_a_decoder_are_refused(kind: str) -> None:
    with pytest.raises(UnwriteError, match=f"'{kind}' has an encoder and a decoder"):
        next(miniatures(tiny_config(kind)))


def test_model_that_stays_large_is_refused_before_it_is_built() -> None:
    config = tiny_config("qwen3_moe", **WIDE, num_experts=1 << 17, moe_intermediate_size=768)
    with pytest.raises(UnwriteError, match=r"layers still have up to \d,\d{3},\d{3},\d{3} parameters"):
        next(miniatures(config))
