"""The exact writers of each architecture, the theorem on a full model with its controls, and every refusal."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.expected_writers import EXPECTED, expected_writers
from tests.support.probe import TOKENS, edited, written_along
from tests.support.tiny import random_direction, tiny_config
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import run_model
from unwrite.models.discovery.findings import Discovery, FoundWriter
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.writers import find_writers


@functools.cache
def found(name: str) -> Discovery:
    return find_writers(zoo_config(name))


@pytest.mark.parametrize("name", EXPECTED)
def test_writers_are_exactly_the_expected_ones(name: str) -> None:
    discovery = found(name)
    expected = expected_writers(name)
    assert set(discovery.writers) == set(expected)
    assert len(discovery.writers) == len(expected)
    assert [writer.layer for writer in discovery.writers] == sorted(writer.layer for writer in expected)
    assert discovery.incomplete == []
    assert discovery.unexplained < 1e-5
    config = zoo_config(name)
    text = config.get_text_config()
    assert (discovery.layers, discovery.hidden_size) == (text.num_hidden_layers, text.hidden_size)
    assert discovery.vocabulary == text.vocab_size
    assert discovery.architecture == type(zoo_model(name)).__name__
    assert discovery.streams == (
        2 if name in {"deepseek_v4", "hy_v4", "glm5_next", "qwen4_exp_text_without_ple"} else 1
    )


V = random_direction(32)


@torch.no_grad()
def remaining_share(model: nn.Module, writers: Sequence[FoundWriter], **edit: bool) -> float:
    """Edit these writers, measure the share written along V, and put their parameters back."""
    names = {name for writer in writers for name in (writer.parameter, writer.bias) if name is not None}
    originals = {name: model.get_parameter(name).clone() for name in names}
    try:
        return written_along(edited(model, writers, V, **edit), V)
    finally:
        for name, original in originals.items():
            model.get_parameter(name).copy_(original)


@pytest.mark.parametrize("name", EXPECTED)
def test_direction_is_gone_only_once_every_writer_is_edited(name: str) -> None:
    writers = found(name).writers
    assert found(name).hidden_size == len(V)
    model = zoo_model(name, torch.float64, seed=3)  # other weights than the miniature's
    assert remaining_share(model, writers) < 1e-9
    stack, rows = EXPECTED[name]
    for one in (row.within(stack)[-1] for row in rows):
        assert remaining_share(model, [writer for writer in writers if writer != one]) > 1e-3, one.parameter
    if any(writer.bias for writer in writers):
        assert remaining_share(model, writers, bias=False) > 1e-3
    if any(writer.norms for writer in writers):
        assert remaining_share(model, writers, norms=False) > 1e-3


# name in the zoo: (phrases in the reasons, the parameters that are still proven)
INCOMPLETE: Mapping[str, tuple[Sequence[str], set[str]]] = {
    "minimax": (
        ["layer 0", "not explained by mlp.experts", "does not reach its output unchanged"],
        {f"model.layers.{layer}.mlp.experts.down_proj" for layer in range(3)},
    ),
    "openai-gpt": (["layer 0: ln_2 (LayerNorm)", "cannot be edited exactly", "a norm after the sum"], set()),
    "opt_post_norm": (
        ["layer 0: final_layer_norm (LayerNorm)", "cannot be edited exactly", "a norm after the sum"],
        set(),
    ),
    "bloom_post_norm": (["layer 0: mlp (BloomMLP)", "a norm after the sum"], set()),
    "git": (["layer 0: output.LayerNorm (LayerNorm)", "a norm after the sum"], set()),
    "doge": (
        ["not explained by mlp.down_proj", "each component is scaled separately after self_attn.o_proj"],
        {f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(3)},
    ),
    "rwkv": (
        ["layer 0: pre_ln (LayerNorm)", "a norm after the sum, or a scale"],
        {f"rwkv.blocks.{layer}.attention.output.weight" for layer in range(3)},
    ),
    "zaya": (["post_mlp_residual_scale (ZayaResidualScaling)", "or a scale"], set()),
    "muse_spark": (["post_feedforward_residual_gate (MuseSparkResidualGate)", "or a scale"], set()),
    "inkling_text": (["layer 0: attn_sconv (InklingShortConvolution)", "cannot be edited exactly"], set()),
    "longcat_flash": (
        ["layer 0: mlp.experts (LongcatFlashExperts)", "cannot be edited exactly"],
        {f"model.layers.0.{name}.weight" for n in "01" for name in (f"self_attn.{n}.o_proj", f"mlps.{n}.down_proj")},
    ),
    "qwen4_exp_text": (  # several streams; in layer 1 a convolution writes too
        ["layer 1: ple (Qwen4ExpTextPLELayer) cannot be edited exactly"],
        {
            f"model.layers.{layer}.{name}"
            for layer in range(3)
            for name in (
                f"{'self_attn.o_proj' if layer == 2 else 'linear_attn.out_proj'}.weight",
                "mlp.shared_expert.down_proj.weight",
                "mlp.experts.down_proj",
            )
        },
    ),
    "xlm": (
        ["something writes the stream between layers 0 and 1"],
        {f"transformer.ffns.{layer}.lin2.weight" for layer in range(3)},
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_architectures_list_reasons_and_only_proven_writers(name: str) -> None:
    discovery = found(name)
    phrases, proven = INCOMPLETE[name]
    for phrase in phrases:
        assert phrase in "; ".join(discovery.incomplete)
    assert {writer.parameter for writer in discovery.writers} == proven
    model = zoo_model(name, torch.float64, seed=3)
    before = output_along(model, discovery)
    assert min(before, default=1) > 1e-2
    edited(model, discovery.writers, V)
    assert max(output_along(model, discovery), default=0) < 1e-9


def output_along(model: nn.Module, discovery: Discovery) -> list[float]:
    """Return the largest share along V in the output of each writer's module."""
    shares = []

    def measure(_module: nn.Module, _args: Any, output: Any) -> None:
        y = output if isinstance(output, Tensor) else output[0]
        shares.append(float(((y @ V).abs() / y.norm(dim=-1)).max()))

    for writer in discovery.writers:
        assert writer.norms == ()
        model.get_submodule(writer.module).register_forward_hook(measure)
    if discovery.writers:
        with float64_throughout(), torch.no_grad():
            run_model(model, {"input_ids": TOKENS})
    return shares


@pytest.mark.filterwarnings("ignore:.*is_decoder.*:UserWarning")
def test_encoder_used_as_a_language_model_is_post_norm() -> None:
    discovery = find_writers(tiny_config("bert"))
    assert discovery.writers == []
    assert "layer 0: output.LayerNorm (LayerNorm)" in discovery.incomplete[0]
    assert "a norm after the sum" in discovery.incomplete[0]


REFUSED: Mapping[str, str] = {  # name in the zoo: the reason
    "gemma3n_text": r"layer 0: the layers pass on 2 streams in another form .* \(shape \[2, 2, \d+, 32\] for",
    "mllama": "does not run each of its 3 layers, in order: 2 ran",
    "blt": "the stream must be one vector per token, got shape",
    "xlnet": "the stream must be one vector per token, got shape",
    "cpmant": "the stream must be one vector per token, got shape",
    "reformer": "the stream must be one vector per token, got shape",
}


@pytest.mark.parametrize("name", REFUSED)
def test_stream_without_one_vector_per_token_in_every_layer_is_refused(name: str) -> None:
    with pytest.raises(UnwriteError, match=REFUSED[name]) as refusal:
        found(name)
    assert "this model is refused" in str(refusal.value)


@pytest.mark.parametrize("kind", ["t5", "bart", "mbart"])
def test_encoder_with_a_decoder_is_refused(kind: str) -> None:
    with pytest.raises(UnwriteError, match=f"'{kind}' has an encoder and a decoder. Use a decoder-only model"):
        find_writers(tiny_config(kind))


@pytest.mark.parametrize("kind", ["clip_vision_model", "vit"])
def test_models_other_than_language_models_are_refused(kind: str) -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match=f"'{kind}'.*Use a causal language model"):
        find_writers(AutoConfig.for_model(kind))


def test_model_that_needs_an_image_is_refused() -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match="Kosmos2ForConditionalGeneration does not run on text alone"):
        find_writers(AutoConfig.for_model("kosmos-2"))
