"""One edit made in three ways: on activations, on weights in memory, and on disk, which agree in float64."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.architectures import ARCHITECTURES, layer_of
from tests.support.edited import edit_on_disk
from tests.support.samples import sample_direction, sample_edit, sample_layout, sample_recipe, sample_writer
from tests.support.subjects import (
    DIRECTIONS,
    MEANS,
    MODES,
    STRENGTHS,
    Subject,
    edits_of_writers,
    loaded,
    logits,
    subject,
)
from unwrite.core.layout import as_matrices
from unwrite.editing.activations import edited_activations
from unwrite.editing.blocks import blocks_in_memory
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.exact import edited_parameters, parameter_names, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.schema.artifacts import Edit, Norm
from unwrite.terms import NormPreservation

STORED = {"directions": DIRECTIONS, "baseline_mean": MEANS}


def on_weights(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> Tensor:
    originals = parameters_of(of.model, parameter_names(edits))
    with patched_parameters(of.model, edited_parameters(edits, originals, mode, DIRECTIONS, MEANS)):
        return of.logits()


def on_activations(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> Tensor:
    with edited_activations(of.model, [edits], of.writers, cache_of(of, mode)):
        return of.logits()


def cache_of(of: Subject, mode: NormPreservation) -> EditCache:
    return cache_in_memory(parameters_of(of.model, parameter_names(of.writers)), mode)


def cache_in_memory(parameters: dict[str, Tensor], mode: NormPreservation) -> EditCache:
    return EditCache(partial(blocks_in_memory, parameters), parameters, mode, DIRECTIONS, MEANS)


def on_disk(of: Subject, edits: Sequence[Edit], mode: NormPreservation, folder: Path) -> Tensor:
    shutil.copytree(of.folder, folder)
    edit_on_disk(folder, sample_recipe(edits, norm_preservation=mode), STORED)
    return logits(loaded(folder))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_activations_weights_and_checkpoint_agree(
    name: str, mode: NormPreservation, folders: Path, tmp_path: Path
) -> None:
    of = subject(name, folders)
    base = of.logits()
    for strength in STRENGTHS:
        edits = edits_of_writers(of.writers, strength)
        weights = on_weights(of, edits, mode)
        assert float((weights - base).abs().max()) > 1e-3
        assert float((on_activations(of, edits, mode) - weights).abs().max()) < 1e-9
        assert float((on_disk(of, edits, mode, tmp_path / f"{strength}") - weights).abs().max()) < 1e-9
    assert torch.equal(of.logits(), base)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "gpt_oss", "gemma2"])
def test_they_agree_without_biases_and_norms(name: str, mode: NormPreservation, folders: Path, tmp_path: Path) -> None:
    of = subject(name, folders)
    edits = edits_of_writers(of.writers, 0.7, bias=False, norms=False)
    weights = on_weights(of, edits, mode)
    full = edits_of_writers(of.writers, 0.7)
    assert float((weights - on_weights(of, full, mode)).abs().max()) > 1e-6
    assert float((on_activations(of, edits, mode) - weights).abs().max()) < 1e-9
    assert float((on_disk(of, edits, mode, tmp_path / "merged") - weights).abs().max()) < 1e-9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama", "llama4_text", "gpt_oss"])
def test_they_agree_if_only_some_writers_are_edited(name: str, mode: NormPreservation, folders: Path) -> None:
    of = subject(name, folders)
    edits = edits_of_writers(of.writers, 1.0)
    for some in (edits[1:], edits[::2], edits[1::2], [edits[-1]]):
        weights = on_weights(of, some, mode)
        assert float((on_activations(of, some, mode) - weights).abs().max()) < 1e-9


def written_along(of: Subject, edits: Sequence[Edit]) -> float:
    """The largest share that a layer adds to its input along the direction of its writers."""
    layers = sorted({edit.layer for edit in edits})
    shares: list[float] = []
    hooks = []
    for layer in layers:
        reference = next(edit.direction for edit in edits if edit.layer == layer)
        v = resolve_direction(reference, DIRECTIONS, MEANS)

        def note(_module: nn.Module, args: Any, kwargs: Any, output: Any, v: Tensor = v) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            added = (output if isinstance(output, Tensor) else output[0]) - before
            shares.append(float((added @ v).abs().max() / added.norm(dim=-1).max()))

        module = of.model.get_submodule(layer_of(of.folder.name, layer))
        hooks.append(module.register_forward_hook(note, with_kwargs=True))
    of.logits()
    for hook in hooks:
        hook.remove()
    assert len(shares) == len(layers)
    return max(shares)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "llama"])
def test_a_full_edit_leaves_nothing_along_the_direction(name: str, folders: Path) -> None:
    of = subject(name, folders)
    edits = [edit.model_copy(update={"strength": 1.0}) for edit in edits_of_writers(of.writers, 1.0)]
    originals = parameters_of(of.model, parameter_names(edits))
    assert written_along(of, edits) > 1e-2
    with patched_parameters(of.model, edited_parameters(edits, originals, "none", DIRECTIONS, MEANS)):
        assert written_along(of, edits) < 1e-12
    partly = [edit.model_copy(update={"bias": None, "norms": []}) for edit in edits]
    with patched_parameters(of.model, edited_parameters(partly, originals, "none", DIRECTIONS, MEANS)):
        has_more = any(edit.bias is not None or edit.norms for edit in edits)
        assert (written_along(of, edits) > 1e-4) == has_more


class Experts(nn.Module):
    """Experts side by side, [d, E, k], each with a bias, mixed by a weight that the token decides; and a norm after."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(32, 4, 6, generator=generator, dtype=torch.float64), False)
        self.bias = nn.Parameter(torch.randn(4, 32, generator=generator, dtype=torch.float64), False)
        self.scale = nn.Parameter(torch.randn(32, generator=generator, dtype=torch.float64), False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        share = x[..., :4].softmax(-1)
        y = torch.einsum("dek,...k->...ed", self.weight, x) + self.bias
        return (share.unsqueeze(-1) * y).sum(-2), share


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = Experts()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.experts(x)[0]
        return y * y.square().mean(-1, keepdim=True).rsqrt() * (0.5 + self.experts.scale)


@pytest.mark.parametrize("mode", MODES)
def test_experts_stored_side_by_side_and_a_module_that_returns_a_tuple(mode: NormPreservation, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    block, x = Block(), torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    writer = sample_writer(
        1,
        module="experts",
        matrix=sample_layout("experts.weight", 0, 4),
        bias=sample_layout("experts.bias", 1, 4),
        norms=[Norm(parameter="experts.scale", tensor="experts.scale", offset=0.5)],
    )
    edit = sample_edit(writer, 1.0, sample_direction(2.0))
    originals = parameters_of(block, parameter_names([edit]))
    values = edited_parameters([edit], originals, mode, DIRECTIONS, MEANS)
    with patched_parameters(block, values):
        expected = block(x)
    v = DIRECTIONS[0, 2]
    left = float((expected @ v).abs().max())
    assert left < 1e-12 if mode in {"none", "columns"} else left > 1e-3  # rows scaled differently turn it
    assert float((block(x) @ v).abs().max()) > 0.1
    with edited_activations(block, [[edit]], [writer], cache_in_memory(originals, mode)):
        torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)
        assert block.experts(x)[1].shape == (5, 4)
    save_file(block.state_dict(), tmp_path / "model.safetensors")
    edit_on_disk(tmp_path, sample_recipe([edit], norm_preservation=mode), STORED)
    stored = load_file(tmp_path / "model.safetensors")
    assert set(values) == {"experts.weight", "experts.bias"}
    assert all(torch.equal(stored[name], value) for name, value in values.items())
    assert torch.equal(stored["experts.scale"], block.experts.scale)
    matrices = as_matrices(originals["experts.weight"], 0, 4)
    assert not torch.equal(as_matrices(values["experts.weight"], 0, 4), matrices)


def test_a_module_that_the_model_does_not_call_is_an_error(folders: Path) -> None:
    of = subject("llama", folders)
    edits = edits_of_writers(of.writers, 1.0)
    first, second = (of.model.get_submodule(writer.module) for writer in of.writers[:2])

    def run() -> None:
        with edited_activations(of.model, [edits[:2]], of.writers, cache_of(of, "none")):
            first(torch.ones(1, 32, dtype=torch.float64))

    with pytest.raises(UnwriteError, match=r"without calling model\.layers\.0\.mlp\.down_proj \(1 such"):
        run()
    assert not first._forward_hooks
    assert not second._forward_hooks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama_bias", "gpt2", "gemma2"])
def test_rows_of_a_batch_belong_to_different_trials(name: str, mode: NormPreservation, folders: Path) -> None:
    of = subject(name, folders)
    trials = [
        edits_of_writers(of.writers, 1.0),
        [],
        edits_of_writers(of.writers, 0.6)[::2],
        edits_of_writers(of.writers, 1.3, bias=False),
    ]
    expected = torch.stack([on_weights(of, edits, mode) for edits in trials])
    with edited_activations(of.model, trials, of.writers, cache_of(of, mode)) as select:
        for rows in ([0, 1], [3, 2], [2, 2], [1, 3]):
            select(rows)
            actual = of.logits()
            for place, trial in enumerate(rows):
                assert float((actual[place] - expected[trial, place]).abs().max()) < 1e-9
    assert float((expected[0] - expected[2]).abs().max()) > 1e-3


def test_trials_that_need_weights_cannot_share_a_pass(folders: Path) -> None:
    of = subject("mixtral", folders)
    edits = edits_of_writers(of.writers, 1.0)
    with (
        pytest.raises(UnwriteError, match=r"experts\.down_proj must be edited on weights, which 2 trials cannot share"),
        edited_activations(of.model, [edits, []], of.writers, cache_of(of, "rows")),
    ):
        pass


@pytest.mark.parametrize("rows", [None, [0, 1, 0, 1]])
def test_a_batch_with_other_rows_than_selected_is_an_error(rows: list[int] | None, folders: Path) -> None:
    of = subject("llama", folders)
    trials = [edits_of_writers(of.writers, 1.0), edits_of_writers(of.writers, 0.5)]
    with edited_activations(of.model, trials, of.writers, cache_of(of, "none")) as select:
        if rows is not None:
            select(rows)
        with pytest.raises(UnwriteError, match="must take and return one vector per token of each of"):
            of.logits()
        select([0, 1])
        of.logits()
