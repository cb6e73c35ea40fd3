"""Where the checkpoint holds a parameter, proven by transformers' own loading: an edit there is an edit in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.tiny import tiny_config, tiny_model
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.conversion import StoredPart, locate_parameters, refuse_missing_tensors
from unwrite.models.discovery.miniature import build_on_meta
from unwrite.models.loading import model_class

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Layouts = Mapping[str, tuple[int, int]]  # the end of a parameter's name in memory: its hidden axis, its matrices
Places = dict[str, list[StoredPart]]
WEIGHTS = "model.safetensors"

LINEAR: Layouts = {"self_attn.o_proj.weight": (0, 1), "mlp.down_proj.weight": (0, 1)}
EXPERTS: Layouts = {"self_attn.o_proj.weight": (0, 1), "mlp.experts.down_proj": (1, 8)}
SHARED: Layouts = {**EXPERTS, "mlp.down_proj.weight": (0, 1), "shared_experts?.down_proj.weight": (0, 1)}
POST_NORMS: Layouts = {"post_attention_layernorm.weight": (0, 1), "post_feedforward_layernorm.weight": (0, 1)}
CONV1D: Layouts = {"c_proj.weight": (1, 1), "c_proj.bias": (0, 1)}

WRITERS: Mapping[str, Layouts] = {
    "llama": LINEAR,
    "llama_bias": {**LINEAR, "o_proj.bias": (0, 1), "down_proj.bias": (0, 1)},
    "gemma2": {**LINEAR, **POST_NORMS},
    "gpt2": CONV1D,
    "gpt2_square": CONV1D,
    "bloom": {
        "self_attention.dense.weight": (0, 1),
        "mlp.dense_4h_to_h.weight": (0, 1),
        "mlp.dense_4h_to_h.bias": (0, 1),
    },
    "opt": {"layers.*out_proj.weight": (0, 1), "fc2.weight": (0, 1), "fc2.bias": (0, 1)},
    "mixtral": EXPERTS,
    "phimoe": EXPERTS,
    "minimax_m2": EXPERTS,
    "qwen3_moe": {**EXPERTS, "mlp.down_proj.weight": (0, 1)},
    "qwen3_next": {**SHARED, "linear_attn.out_proj.weight": (0, 1)},
    "deepseek_v3": SHARED,
    "glm4_moe": SHARED,
    "ernie4_5_moe": SHARED,
    "granitemoe": {"o_proj.weight": (0, 1), "block_sparse_moe.experts.down_proj": (1, 8)},
    "gpt_oss": {"o_proj.bias": (0, 1), "mlp.experts.down_proj": (2, 8), "mlp.experts.down_proj_bias": (1, 8)},
    "llama4_text": {"feed_forward.experts.down_proj": (2, 8), "shared_expert.down_proj.weight": (0, 1)},
    "lfm2_moe": {"conv.out_proj.weight": (0, 1), "w2.weight": (0, 1), "feed_forward.experts.down_proj": (1, 8)},
    "nemotron_h": {"mixer.(out|o|down)_proj.weight": (0, 1), "mixer.experts.down_proj": (1, 8)},
    "jamba": {"mamba.out_proj.weight": (0, 1), "feed_forward.experts.down_proj": (1, 8)},
    "jetmoe": {"mlp.output_linear.weight": (1, 8), "mlp.bias": (0, 1)},
    "mamba2": {"mixer.out_proj.weight": (0, 1)},
    "dbrx": {"attn.out_proj.weight": (0, 1), "experts.mlp.w2": (1, 8)},
    "gemma3": {rf"language_model.*{name}": layout for name, layout in {**LINEAR, **POST_NORMS}.items()},
    "qwen3_vl": {rf"language_model.*{name}": layout for name, layout in LINEAR.items()},
    "qwen3_vl_moe": {rf"language_model.*{name}": layout for name, layout in EXPERTS.items()},
}


def named(model: PreTrainedModel, layouts: Layouts) -> dict[str, tuple[int, int]]:
    """Return the parameters with these endings; every ending has at least one."""
    found: dict[str, tuple[int, int]] = {}
    for ending, layout in layouts.items():
        names = [name for name, _ in model.named_parameters() if re.search(rf"(^|\.){ending}$", name)]
        assert names, ending
        found.update(dict.fromkeys(names, layout))
    return found


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in load_file(folder / WEIGHTS).items()}


def stepped(tensor: Tensor, axis: int, steps: Tensor) -> Tensor:
    """Return the tensor with steps[g] added along the hidden axis of its matrix g; rank one, different per expert."""
    last = tensor.movedim(axis, -1)
    matrices = last.reshape(len(steps), -1, steps.shape[1]) + steps[:, None]
    return matrices.reshape(last.shape).movedim(-1, axis).contiguous()


def changed_by_loading(model: PreTrainedModel, folder: Path, layouts: Layouts, places: Places) -> set[str]:
    """Step the parameters on disk, load, and name those that differ from being stepped in memory."""
    tensors, expected = load_file(folder / WEIGHTS), dict(model.state_dict())
    for number, (name, parts) in enumerate(places.items()):
        axis, num_matrices = layouts[name]
        width = expected[name].shape[axis]
        steps = torch.randn((num_matrices, width), generator=torch.Generator().manual_seed(number))
        expected[name] = stepped(expected[name], axis, steps)
        for part, own in zip(parts, torch.split(steps, [part.num_matrices for part in parts]), strict=True):
            tensors[part.tensor] = stepped(tensors[part.tensor], part.axis, own)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    loaded = model_class(model.config).from_pretrained(folder, dtype=torch.float32).state_dict()
    assert loaded.keys() == expected.keys()
    return {name for name, tensor in expected.items() if not torch.equal(tensor, loaded[name])}


def wrong_after_loading(model: PreTrainedModel, folder: Path, layouts: Layouts) -> set[str]:
    places = locate_parameters(model.config, layouts, stored_shapes(folder))
    assert places.keys() == layouts.keys()
    return changed_by_loading(model, folder, layouts, places)


@pytest.mark.parametrize("name", WRITERS)
def test_edit_of_the_located_tensors_changes_that_parameter_and_no_other(name: str, tmp_path: Path) -> None:
    model = zoo_model(name)
    model.save_pretrained(tmp_path)
    assert wrong_after_loading(model, tmp_path, named(model, WRITERS[name])) == set()


@pytest.mark.parametrize(
    ("name", "parameter", "layout", "tensor"),
    [
        (
            "mixtral",
            "model.layers.2.mlp.experts.down_proj",
            (1, 8),
            "model.layers.2.block_sparse_moe.experts.5.w2.weight",
        ),
        ("qwen3_moe", "model.layers.1.mlp.experts.down_proj", (1, 8), "model.layers.1.mlp.experts.5.down_proj.weight"),
        (
            "lfm2_moe",
            "model.layers.2.feed_forward.experts.down_proj",
            (1, 8),
            "model.layers.2.feed_forward.experts.5.w2.weight",
        ),
        ("nemotron_h", "model.layers.3.mixer.down_proj.weight", (0, 1), "backbone.layers.3.mixer.down_proj.weight"),
        (
            "gemma3",
            "model.language_model.layers.1.mlp.down_proj.weight",
            (0, 1),
            "language_model.model.layers.1.mlp.down_proj.weight",
        ),
    ],
)
def test_located_tensors_have_the_names_used_on_the_hub(
    name: str, parameter: str, layout: tuple[int, int], tensor: str, tmp_path: Path
) -> None:
    zoo_model(name).save_pretrained(tmp_path)
    parts = locate_parameters(zoo_config(name), {parameter: layout}, stored_shapes(tmp_path))[parameter]
    assert parts[5 if len(parts) > 1 else 0] == StoredPart(tensor, 0, 1)


def test_control_wrong_axis_is_noticed(tmp_path: Path) -> None:
    """The matrix is square, so the shape cannot reveal it."""
    model = zoo_model("llama")
    model.save_pretrained(tmp_path)
    name = "model.layers.0.self_attn.o_proj.weight"
    wrong = {name: [StoredPart(name, 1, 1)]}
    assert changed_by_loading(model, tmp_path, {name: (0, 1)}, wrong) == {name}


def test_control_experts_in_another_order_are_noticed(tmp_path: Path) -> None:
    """Sorted as text, expert 10 comes before expert 2."""
    model = tiny_model(tiny_config("mixtral", num_local_experts=12))
    model.save_pretrained(tmp_path)
    name = "model.layers.0.mlp.experts.down_proj"
    layouts = {name: (1, 12)}
    places = locate_parameters(model.config, layouts, stored_shapes(tmp_path))
    as_text = {name: sorted(places[name])}
    assert as_text != places
    assert changed_by_loading(model, tmp_path, layouts, as_text) == {name}


def test_experts_are_ordered_by_number(tmp_path: Path) -> None:
    model = tiny_model(tiny_config("mixtral", num_local_experts=12))
    model.save_pretrained(tmp_path)
    assert wrong_after_loading(model, tmp_path, {"model.layers.0.mlp.experts.down_proj": (1, 12)}) == set()


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in change(load_file(folder / WEIGHTS)).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_tensors_named_without_the_base_model_prefix_are_located(name: str, tmp_path: Path) -> None:
    """Some checkpoints, GPT-2's among them, leave out the prefix of the base model."""
    model = zoo_model(name)
    model.save_pretrained(tmp_path)
    prefix = f"{model.base_model_prefix}."
    rewrite(tmp_path, lambda tensors: {key.removeprefix(prefix): tensor for key, tensor in tensors.items()})
    assert wrong_after_loading(model, tmp_path, named(model, WRITERS[name])) == set()


@pytest.mark.parametrize(("width", "transposed"), [(16, False), (16, True), (32, False)])
def test_transposition_that_depends_on_the_shape_is_followed(width: int, transposed: bool, tmp_path: Path) -> None:
    """With a width of 32 the matrix is square, and is loaded as it is."""
    config = zoo_config("qwen3_vl_moe")
    config.get_text_config().moe_intermediate_size = width
    model = model_class(config).from_config(config).requires_grad_(False)
    model.save_pretrained(tmp_path)
    layouts = named(model, {"experts.down_proj": (1, 8)})
    if transposed:
        rewrite(tmp_path, lambda old: {key: tensor.mT if key in layouts else tensor for key, tensor in old.items()})
    assert wrong_after_loading(model, tmp_path, layouts) == set()


DOWN = "model.layers.0.mlp.experts.down_proj"


@pytest.fixture
def mixtral(tmp_path: Path) -> PreTrainedModel:
    """Save a model with DOWN [3, 32, 48]."""
    model = tiny_model(tiny_config("mixtral", num_local_experts=3, num_hidden_layers=1))
    model.save_pretrained(tmp_path)
    return model


def convert_by(monkeypatch: pytest.MonkeyPatch, source: str, operations: list[Any]) -> None:
    """Reduce transformers to one conversion, of `source` to the experts' down_proj."""
    from transformers import conversion_mapping, modeling_utils
    from transformers.core_model_loading import WeightConverter

    def mapping(*_: object, **__: object) -> list[WeightConverter]:
        return [WeightConverter(source, "mlp.experts.down_proj", operations)]

    monkeypatch.setattr(conversion_mapping, "get_model_conversion_mapping", mapping)
    monkeypatch.setattr(modeling_utils, "get_model_conversion_mapping", mapping)


def store(model: PreTrainedModel, folder: Path, down: dict[str, Tensor]) -> None:
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items() if name != DOWN}
    save_file(tensors | {name: tensor.clone() for name, tensor in down.items()}, folder / WEIGHTS)


def expert(number: int) -> str:
    return f"model.layers.0.mlp.experts.{number}.w2.weight"


@pytest.mark.parametrize("turned", [False, True])
def test_stacked_experts_are_located_one_by_one(
    turned: bool, mixtral: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.core_model_loading import MergeModulelist, Transpose

    convert_by(monkeypatch, "mlp.experts.*.w2.weight", [MergeModulelist(0), *[Transpose(1, 2)] * turned])
    matrices = mixtral.get_parameter(DOWN)
    store(mixtral, tmp_path, {expert(n): (m.T if turned else m).contiguous() for n, m in enumerate(matrices)})
    parts = locate_parameters(mixtral.config, {DOWN: (1, 3)}, stored_shapes(tmp_path))[DOWN]
    assert parts == [StoredPart(expert(number), int(turned), 1) for number in range(3)]
    assert wrong_after_loading(mixtral, tmp_path, {DOWN: (1, 3)}) == set()


@pytest.mark.parametrize(("dims", "part"), [((1, 2), (2, 3)), ((-1, -2), (2, 3)), ((0, 1), (0, 3))])
def test_transposed_experts_are_located(
    dims: tuple[int, int],
    part: tuple[int, int],
    mixtral: PreTrainedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.core_model_loading import Transpose

    convert_by(monkeypatch, "mlp.experts.turned", [Transpose(*dims)])
    name = "model.layers.0.mlp.experts.turned"
    store(mixtral, tmp_path, {name: mixtral.get_parameter(DOWN).transpose(*dims).contiguous()})
    parts = locate_parameters(mixtral.config, {DOWN: (1, 3)}, stored_shapes(tmp_path))[DOWN]
    assert parts == [StoredPart(name, *part)]
    assert wrong_after_loading(mixtral, tmp_path, {DOWN: (1, 3)}) == set()


@pytest.mark.parametrize(
    ("operations", "split"),
    [
        ([("Transpose", 0, 2)], None),  # its first axis would no longer count experts
        ([("MergeModulelist", 1)], 1),  # one row of every expert
        ([("MergeModulelist", 2)], 2),
        ([("Concatenate", 0)], None),
        ([("Interleave", 1)], None),
        ([("Chunk", 1)], None),
        ([("PermuteForRope",)], None),
        ([("Transpose", 0, 1), ("MergeModulelist", 0)], 0),  # takes the first expert only
        ([("Transpose", 1, 2), ("Transpose", 1, 2, True)], None),  # looks at what is not on disk
        ([("MergeModulelist", 0), ("Transpose", 1, 2, True)], 0),
    ],
)
def test_operations_without_an_exact_edit_are_refused(
    operations: list[tuple[Any, ...]],
    split: int | None,
    mixtral: PreTrainedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import core_model_loading

    made = [getattr(core_model_loading, kind)(*arguments) for kind, *arguments in operations]
    convert_by(monkeypatch, "mlp.experts.*.w2.weight", made)
    whole = mixtral.get_parameter(DOWN)
    pieces = [whole] if split is None else list(whole.unbind(split))
    store(mixtral, tmp_path, {expert(n): piece.contiguous() for n, piece in enumerate(pieces)})
    text = refusal(mixtral.config, {DOWN: (1, 3)}, stored_shapes(tmp_path))
    assert text.startswith(f"{DOWN} is made from {expert(0)}")
    assert "no edit of the checkpoint is exact" in text
    assert all(kind in text for kind, *_ in operations)


@pytest.mark.parametrize(
    ("name", "parameter", "layout", "operation"),
    [
        ("mixtral", DOWN.replace("down", "gate_up"), (2, 8), "Concatenate"),
        ("hrm_text", "model.L_module.layers.0.mlp.gate_proj.weight", (1, 1), "Chunk"),
        ("hrm_text", "model.L_module.layers.0.mlp.up_proj.weight", (1, 1), "Chunk"),
        ("inkling2_text", "model.layers.1.mlp.experts.gate_up_proj", (2, 8), "Interleave"),
    ],
)
def test_parameters_mixed_on_loading_are_refused(
    name: str, parameter: str, layout: tuple[int, int], operation: str, tmp_path: Path
) -> None:
    zoo_model(name).save_pretrained(tmp_path)
    with pytest.raises(UnwriteError, match=rf"^{re.escape(parameter)} is made from .*{operation}"):
        locate_parameters(zoo_config(name), {parameter: layout}, stored_shapes(tmp_path))


# What a checkpoint can be missing


def llama_shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in build_on_meta(zoo_config("llama")).state_dict().items()}


def refusal(config: PreTrainedConfig, layouts: Layouts, stored: Mapping[str, tuple[int, ...]]) -> str:
    with pytest.raises(UnwriteError) as error:
        locate_parameters(config, layouts, stored)
    text = str(error.value)
    assert text.count("\n") <= 1
    return text


ONE = "model.layers.1.mlp.down_proj.weight"
TWO = {ONE: (0, 1), "model.layers.2.mlp.down_proj.weight": (0, 1)}


def test_missing_tensor_is_named_with_how_many_more() -> None:
    stored = {name: shape for name, shape in llama_shapes().items() if "down_proj" not in name}
    assert f"no tensor {ONE}." in refusal(zoo_config("llama"), {ONE: (0, 1)}, stored)
    text = refusal(zoo_config("llama"), TWO, stored)
    assert f"no tensor {ONE}, model.layers.2.mlp.down_proj.weight." in text
    assert "config.json" in text


def test_nearest_unused_tensor_is_named() -> None:
    stored = {name.replace("down_proj", "lower_proj"): shape for name, shape in llama_shapes().items()}
    text = refusal(zoo_config("llama"), TWO, stored)
    assert "model.layers.1.mlp.lower_proj.weight" in text
    assert "nearest" in text


def test_tensors_in_use_are_not_suggested() -> None:
    stored = {name: shape for name, shape in llama_shapes().items() if name != ONE}
    assert "nearest" not in refusal(zoo_config("llama"), TWO, stored)


def test_tensor_of_another_shape_is_refused() -> None:
    text = refusal(zoo_config("llama"), TWO, llama_shapes() | {ONE: (32, 47)})
    assert text.startswith(f"{ONE} must have shape [32, 48], got [32, 47].")


def test_single_expert_of_another_shape_is_refused(tmp_path: Path) -> None:
    zoo_model("mixtral").save_pretrained(tmp_path)
    name = "model.layers.0.block_sparse_moe.experts.3.w2.weight"
    text = refusal(zoo_config("mixtral"), {DOWN: (1, 8)}, stored_shapes(tmp_path) | {name: (48, 32)})
    assert text.startswith(f"{name} must have shape [32, 48], got [48, 32].")


@pytest.mark.parametrize("number", [0, 3, 7])
def test_missing_expert_is_named(number: int, tmp_path: Path) -> None:
    zoo_model("mixtral").save_pretrained(tmp_path)
    stored = stored_shapes(tmp_path)
    del stored[name := f"model.layers.0.block_sparse_moe.experts.{number}.w2.weight"]
    text = refusal(zoo_config("mixtral"), {DOWN: (1, 8)}, stored)
    assert f"{DOWN} must be stored as 8 tensors, got 7: {name} is missing" in text


def test_more_experts_than_the_config_has_are_refused(tmp_path: Path) -> None:
    zoo_model("mixtral").save_pretrained(tmp_path)
    stored = stored_shapes(tmp_path) | {"model.layers.0.block_sparse_moe.experts.8.w2.weight": (32, 48)}
    assert "must be stored as 8 tensors, got 9" in refusal(zoo_config("mixtral"), {DOWN: (1, 8)}, stored)


def test_experts_stored_both_fused_and_separate_are_refused(tmp_path: Path) -> None:
    zoo_model("mixtral").save_pretrained(tmp_path)
    assert refusal(zoo_config("mixtral"), {DOWN: (1, 8)}, stored_shapes(tmp_path) | {DOWN: (8, 32, 48)})


# Tied parameters: zamba's blocks share one attention and one MLP


SHARED_MLP = re.compile(r"shared_transf\.feed_forward\.down_proj\.weight$")


def tied_names(model: PreTrainedModel) -> list[str]:
    return [name for name, _ in model.named_parameters(remove_duplicate=False) if SHARED_MLP.search(name)]


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("asked", [0, 1])
def test_tied_parameter_is_found_under_its_stored_name(asked: int, kept: int, tmp_path: Path) -> None:
    model = zoo_model("zamba")
    model.save_pretrained(tmp_path)
    names = tied_names(model)
    assert len(names) == 2
    value = model.get_parameter(names[0])
    rewrite(
        tmp_path,
        lambda old: {name: old[name] for name in old if name not in names} | {names[kept]: value.clone()},
    )
    places = locate_parameters(model.config, {names[asked]: (0, 1)}, stored_shapes(tmp_path))
    assert places == {names[asked]: [StoredPart(names[kept], 0, 1)]}
    # Both names are that parameter, so both are seen to change.
    assert changed_by_loading(model, tmp_path, {names[asked]: (0, 1)}, places) == {names[1 - asked]}


def test_tied_parameter_stored_twice_is_refused(tmp_path: Path) -> None:
    model = zoo_model("zamba")
    model.save_pretrained(tmp_path)
    names = tied_names(model)
    shape = tuple(model.get_parameter(names[0]).shape)
    text = refusal(model.config, {names[0]: (0, 1)}, stored_shapes(tmp_path) | dict.fromkeys(names, shape))
    assert text.startswith(f"config.json ties {names[0]} and {names[1]}, but")


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "gemma2", "gpt_oss", "qwen3_next"])
def test_a_saved_model_lacks_nothing(name: str, tmp_path: Path) -> None:
    zoo_model(name).save_pretrained(tmp_path)
    stored = stored_shapes(tmp_path)
    refuse_missing_tensors(zoo_config(name), stored, stored)
    lacking = next(tensor for tensor in sorted(stored) if "norm" in tensor or "ln" in tensor)
    with pytest.raises(UnwriteError, match="The checkpoint has no tensor "):
        refuse_missing_tensors(zoo_config(name), stored.keys() - {lacking}, stored)


def test_a_tied_parameter_is_stored_once(tmp_path: Path) -> None:
    shapes = llama_shapes()
    config = zoo_config("llama")
    config.tie_word_embeddings = False
    with pytest.raises(UnwriteError, match=r"no tensor lm_head\.weight\."):
        refuse_missing_tensors(config, shapes.keys() - {"lm_head.weight"}, shapes)
    config.tie_word_embeddings = True
    refuse_missing_tensors(config, shapes.keys() - {"lm_head.weight"}, shapes)


def test_an_unused_tensor_may_be_missing_from_the_index() -> None:
    shapes = llama_shapes()
    refuse_missing_tensors(zoo_config("llama"), [*shapes, "mtp.weight"], shapes)
    with pytest.raises(UnwriteError, match=f"index leaves out {re.escape(ONE)}. Download it again"):
        refuse_missing_tensors(zoo_config("llama"), shapes, shapes.keys() - {ONE})
