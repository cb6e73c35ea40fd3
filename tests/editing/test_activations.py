"""One meaning, three realisations: activations, weights in memory, and a checkpoint merged on disk agree in float64."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.support.architectures import ARCHITECTURES, written_by
from tests.support.edited import edit_on_disk
from tests.support.samples import sample_direction, sample_edit, sample_layout, sample_recipe, sample_writer
from tests.support.tiny import random_direction
from tests.support.zoo import zoo_model
from unwrite.core.layout import as_matrices
from unwrite.editing.activations import edited_activations, why_weights_needed
from unwrite.editing.edit_cache import EditCache, blocks_in_memory
from unwrite.editing.exact import edited_parameters, parameter_names, resolve_direction
from unwrite.errors import UnwriteError
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.patching import parameters_of, patched_parameters
from unwrite.schema.artifacts import Edit, Norm, Writer
from unwrite.terms import NormPreservation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
STRENGTHS = (1.0, 0.7, 1.3)
TOKENS = torch.tensor([[3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16]])
DIRECTIONS = torch.stack([random_direction(32, seed) for seed in range(4)]).unsqueeze(0)
MEANS = torch.stack([random_direction(32, seed) for seed in range(10, 14)]).unsqueeze(0)
STORED = {"directions": DIRECTIONS, "baseline_mean": MEANS}


class Subject(NamedTuple):
    """A model of the zoo in float64, its writers, and the checkpoint it was saved to."""

    model: PreTrainedModel
    writers: list[Writer]
    folder: Path

    def logits(self) -> Tensor:
        return logits(self.model)


def logits(model: nn.Module) -> Tensor:
    with float64_throughout(), torch.no_grad():
        found: Tensor = model(input_ids=TOKENS, use_cache=False).logits
    assert found.dtype == torch.float64
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    yield folder
    subject.cache_clear()


@functools.cache
def subject(name: str, folder: Path) -> Subject:
    zoo_model(name, torch.float64).save_pretrained(folder / name)
    model = loaded(folder / name)
    return Subject(model, written_by(name, model), folder / name)


def loaded(folder: Path) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    )
    return model.requires_grad_(False)


def edits_of(writers: Sequence[Writer], strength: float, *, bias: bool = True, norms: bool = True) -> list[Edit]:
    """Every writer with a direction of its layer; the strengths differ between components."""
    factor = {"attention": 1.0, "mlp": 0.9}
    left_out: dict[str, object] = ({} if bias else {"bias": None}) | ({} if norms else {"norms": []})
    return [
        sample_edit(
            writer, strength * factor[writer.component], sample_direction(writer.layer + 0.5, orthogonalize_to=1)
        ).model_copy(update=left_out)
        for writer in writers
    ]


def on_weights(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> Tensor:
    originals = parameters_of(of.model, parameter_names(edits))
    with patched_parameters(of.model, edited_parameters(edits, originals, mode, DIRECTIONS, MEANS)):
        return of.logits()


def on_activations(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> Tensor:
    with edited_activations(of.model, [edits], of.writers, closed_form(of, mode)):
        return of.logits()


def closed_form(of: Subject, mode: NormPreservation) -> EditCache:
    return form_in_memory(parameters_of(of.model, parameter_names(of.writers)), mode)


def form_in_memory(parameters: dict[str, Tensor], mode: NormPreservation) -> EditCache:
    return EditCache(partial(blocks_in_memory, parameters), parameters, mode, DIRECTIONS, MEANS, {})


def on_disk(of: Subject, edits: Sequence[Edit], mode: NormPreservation, folder: Path) -> Tensor:
    shutil.copytree(of.folder, folder)
    edit_on_disk(folder, sample_recipe(edits, norm_preservation=mode), STORED)
    return logits(loaded(folder))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_three_realisations_agree(name: str, mode: NormPreservation, folders: Path, tmp_path: Path) -> None:
    of = subject(name, folders)
    base = of.logits()
    for strength in STRENGTHS:
        edits = edits_of(of.writers, strength)
        weights = on_weights(of, edits, mode)
        assert float((weights - base).abs().max()) > 1e-3
        assert float((on_activations(of, edits, mode) - weights).abs().max()) < 1e-9
        assert float((on_disk(of, edits, mode, tmp_path / f"{strength}") - weights).abs().max()) < 1e-9
    assert torch.equal(of.logits(), base)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["gpt2", "gpt_oss", "gemma2"])
def test_they_agree_without_biases_and_norms_too(
    name: str, mode: NormPreservation, folders: Path, tmp_path: Path
) -> None:
    of = subject(name, folders)
    edits = edits_of(of.writers, 0.7, bias=False, norms=False)
    weights = on_weights(of, edits, mode)
    full = edits_of(of.writers, 0.7)
    assert float((weights - on_weights(of, full, mode)).abs().max()) > 1e-6
    assert float((on_activations(of, edits, mode) - weights).abs().max()) < 1e-9
    assert float((on_disk(of, edits, mode, tmp_path / "merged") - weights).abs().max()) < 1e-9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama", "llama4_text", "gpt_oss"])
def test_they_agree_if_only_some_writers_are_edited(name: str, mode: NormPreservation, folders: Path) -> None:
    of = subject(name, folders)
    edits = edits_of(of.writers, 1.0)
    for some in (edits[1:], edits[::2], edits[1::2], [edits[-1]]):
        weights = on_weights(of, some, mode)
        assert float((on_activations(of, some, mode) - weights).abs().max()) < 1e-9


def written_along(of: Subject, edits: Sequence[Edit]) -> float:
    """The largest share that a layer adds to its input along the direction of its writers."""
    layers = sorted({edit.layer for edit in edits})
    prefix = ARCHITECTURES[of.folder.name][0]
    shares: list[float] = []
    hooks = []
    for layer in layers:
        reference = next(edit.direction for edit in edits if edit.layer == layer)
        v = resolve_direction(reference, DIRECTIONS, MEANS)

        def note(_module: nn.Module, args: Any, kwargs: Any, output: Any, v: Tensor = v) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            added = (output if isinstance(output, Tensor) else output[0]) - before
            shares.append(float((added @ v).abs().max() / added.norm(dim=-1).max()))

        module = of.model.get_submodule(prefix.format(layer).rstrip("."))
        hooks.append(module.register_forward_hook(note, with_kwargs=True))
    of.logits()
    for hook in hooks:
        hook.remove()
    assert len(shares) == len(layers)
    return max(shares)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "llama"])
def test_after_an_edit_in_full_nothing_is_written_along_the_direction(name: str, folders: Path) -> None:
    of = subject(name, folders)
    edits = [edit.model_copy(update={"strength": 1.0}) for edit in edits_of(of.writers, 1.0)]
    originals = parameters_of(of.model, parameter_names(edits))
    assert written_along(of, edits) > 1e-2
    with patched_parameters(of.model, edited_parameters(edits, originals, "none", DIRECTIONS, MEANS)):
        assert written_along(of, edits) < 1e-12
    partly = [edit.model_copy(update={"bias": None, "norms": []}) for edit in edits]
    with patched_parameters(of.model, edited_parameters(partly, originals, "none", DIRECTIONS, MEANS)):
        has_more = any(edit.bias is not None or edit.norms for edit in edits)
        assert (written_along(of, edits) > 1e-4) == has_more


def reasons(of: Subject, edits: Sequence[Edit], mode: NormPreservation) -> list[str | None]:
    return [why_weights_needed(of.model, edit, edits, of.writers, mode) for edit in edits]


@pytest.mark.parametrize("mode", MODES)
def test_one_matrix_is_always_expressible(mode: NormPreservation, folders: Path) -> None:
    for name in ("llama", "llama_bias", "gpt2", "gpt_neox", "gemma2"):
        of = subject(name, folders)
        assert set(reasons(of, edits_of(of.writers, 1.0), mode)) == {None}
        assert set(reasons(of, edits_of(of.writers, 1.0, bias=False), mode)) == {None}


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "dbrx"])
def test_experts_are_only_where_all_they_put_out_is_projected(name: str, folders: Path) -> None:
    of = subject(name, folders)
    assert set(reasons(of, edits_of(of.writers, 1.0), "none")) == {None}
    for mode in ("pre", "rows", "columns"):
        found = reasons(of, edits_of(of.writers, 1.0), mode)
        assert found[0] is None
        assert "does more than multiply" in (found[1] or "")
    half = reasons(of, edits_of(of.writers, 1.0, bias=False), "none")[1]
    assert (half is None) == (name != "gpt_oss")


def test_a_block_of_several_writers_is_only_where_one_projection_does_for_all(folders: Path) -> None:
    of = subject("llama4_text", folders)
    edits = edits_of(of.writers, 1.0)
    assert set(reasons(of, edits, "none")) == {None}
    assert [reason is None for reason in reasons(of, edits, "rows")] == [True, True, True, False, False, True, True]
    assert "the sum of 2 writers" in (reasons(of, edits, "rows")[3] or "")
    attention, experts, shared = edits[2:5]
    other = [attention, experts, shared.model_copy(update={"strength": 0.5})]
    assert [reason is None for reason in reasons(of, other, "none")] == [True, False, False]
    assert [reason is None for reason in reasons(of, [attention, experts], "none")] == [True, False]


def test_a_parameter_that_other_layers_share_is_edited_by_weight(folders: Path) -> None:
    of = subject("llama", folders)
    shared = [of.writers[0].model_copy(update={"shared_layers": [2]}), *of.writers[1:]]
    edit = sample_edit(shared[0])
    assert "other layers use" in (why_weights_needed(of.model, edit, [edit], shared, "none") or "")


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
def test_experts_side_by_side_and_a_module_that_puts_out_a_tuple(mode: NormPreservation, tmp_path: Path) -> None:
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
    with edited_activations(block, [[edit]], [writer], form_in_memory(originals, mode)):
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


def test_a_module_that_the_model_passes_by_is_an_error(folders: Path) -> None:
    of = subject("llama", folders)
    edits = edits_of(of.writers, 1.0)
    first, second = (of.model.get_submodule(writer.module) for writer in of.writers[:2])

    def run() -> None:
        with edited_activations(of.model, [edits[:2]], of.writers, closed_form(of, "none")):
            first(torch.ones(1, 32, dtype=torch.float64))

    with pytest.raises(UnwriteError, match=r"without calling model\.layers\.0\.mlp\.down_proj \(1 such"):
        run()
    assert not first._forward_hooks
    assert not second._forward_hooks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["llama_bias", "gpt2", "gemma2"])
def test_rows_of_a_batch_belong_to_different_trials(name: str, mode: NormPreservation, folders: Path) -> None:
    of = subject(name, folders)
    trials = [edits_of(of.writers, 1.0), [], edits_of(of.writers, 0.6)[::2], edits_of(of.writers, 1.3, bias=False)]
    expected = torch.stack([on_weights(of, edits, mode) for edits in trials])
    with edited_activations(of.model, trials, of.writers, closed_form(of, mode)) as select:
        for rows in ([0, 1], [3, 2], [2, 2], [1, 3]):
            select(rows)
            found = of.logits()
            for place, trial in enumerate(rows):
                assert float((found[place] - expected[trial, place]).abs().max()) < 1e-9
    assert float((expected[0] - expected[2]).abs().max()) > 1e-3


def test_trials_that_need_weights_exchanged_share_no_pass(folders: Path) -> None:
    of = subject("mixtral", folders)
    edits = edits_of(of.writers, 1.0)
    with (
        pytest.raises(
            UnwriteError, match=r"experts\.down_proj has to be edited on weights, which 2 trials can't share"
        ),
        edited_activations(of.model, [edits, []], of.writers, closed_form(of, "rows")),
    ):
        pass


@pytest.mark.parametrize("rows", [None, [0, 1, 0, 1]])
def test_a_batch_of_other_rows_than_were_said_is_an_error(rows: list[int] | None, folders: Path) -> None:
    of = subject("llama", folders)
    trials = [edits_of(of.writers, 1.0), edits_of(of.writers, 0.5)]
    with edited_activations(of.model, trials, of.writers, closed_form(of, "none")) as select:
        if rows is not None:
            select(rows)
        with pytest.raises(UnwriteError, match="expected a vector for each token of each row"):
            of.logits()
        select([0, 1])
        of.logits()
