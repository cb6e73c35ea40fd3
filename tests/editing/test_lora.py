"""The factors of every edited parameter, however the checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.samples import sample_base, sample_edit, sample_layout, sample_recipe, sample_writer
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.editing.exact import edited_parameters
from unwrite.editing.lora import AdaptedParameter, adapter_values, planned_changes
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import stored_tensors
from unwrite.models.adapter_slots import Slot
from unwrite.models.peft import Plan, Target
from unwrite.schema.artifacts import Edit, ParameterLayout, StoredLayout
from unwrite.terms import NormPreservation

D, K, G = 8, 6, 3
DIRECTIONS = {
    "directions": torch.nn.functional.normalize(
        torch.randn(1, 4, D, generator=torch.Generator().manual_seed(0)), dim=-1
    ),
    "baseline_mean": torch.zeros(1, 4, D),
}
LAYOUTS: Mapping[str, tuple[tuple[int, ...], int, int]] = {  # shape, hidden axis, matrices
    "linear": ((D, K), 0, 1),
    "transposed": ((K, D), 1, 1),
    "fused": ((G, D, K), 1, G),
    "fused, transposed": ((G, K, D), 2, G),
    "flat": ((G * K, D), 1, G),
    "side by side": ((D, G, K), 0, G),
}


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def values_of(
    edit: Edit, stored: Mapping[str, Tensor], mode: NormPreservation, rank: int, folder: Path
) -> tuple[dict[str, Tensor], list[AdaptedParameter]]:
    """The tensors of the adapter of one edit, each parameter under its own name, P in B and Q in A."""
    shape = next(iter(stored.values())).shape if len(stored) == 1 else (len(stored), *next(iter(stored.values())).shape)
    save_file(dict(stored), folder / "model.safetensors")
    base = sample_base([sample_writer(matrix=edit.matrix, shape=shape)], hidden_size=D)
    changes = planned_changes(sample_recipe([edit], norm_preservation=mode), base, rank)
    slots = {
        change.target.parameter: [Slot(change.target.parameter, change.target.rank, hidden_last=True, bias=0)]
        for change in changes
    }
    return adapter_values(changes, Plan({}, slots), stored_tensors(folder), DIRECTIONS, lambda _: None)


def products(values: Mapping[str, Tensor], name: str, num_matrices: int) -> Tensor:
    """P Q of each matrix, [G, d, k]."""
    A, B = values[f"{name}.lora_A.weight"], values[f"{name}.lora_B.weight"]
    return torch.stack([B[:, g::num_matrices] @ part for g, part in enumerate(A.chunk(num_matrices))])


@pytest.mark.parametrize("mode", ["none", "columns"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_factors_give_the_change_of_every_matrix_in_every_layout(
    name: str, mode: NormPreservation, tmp_path: Path
) -> None:
    shape, axis, num_matrices = LAYOUTS[name]
    edit = sample_edit(sample_writer(matrix=sample_layout("w", axis, num_matrices)), 0.8)
    stored = {"w": random(*shape)}
    values, adapted = values_of(edit, stored, mode, 100, tmp_path)
    after = edited_parameters([edit], stored, mode, DIRECTIONS["directions"], DIRECTIONS["baseline_mean"])["w"]
    change = as_matrices(after - stored["w"], axis, num_matrices)
    torch.testing.assert_close(products(values, "w", num_matrices), change, rtol=0, atol=2e-6)
    assert change.abs().amax() > 0.1
    assert adapted[0].rank == (1 if mode == "none" else min(D, K))
    assert adapted[0].relative_error < 1e-6


def test_experts_stored_one_by_one_keep_the_order_of_the_parameter(tmp_path: Path) -> None:
    places = [StoredLayout(tensor=f"e.{n}", axis=0, num_matrices=1) for n in range(G)]
    edit = sample_edit(sample_writer(matrix=ParameterLayout(parameter="w", axis=1, num_matrices=G, stored=places)))
    stored = {f"e.{n}": random(D, K, seed=n) for n in range(G)}
    values, _ = values_of(edit, stored, "none", 1, tmp_path)
    whole = torch.stack(list(stored.values()))
    after = edited_parameters([edit], {"w": whole}, "none", *DIRECTIONS.values())["w"]
    torch.testing.assert_close(products(values, "w", G), after - whole, rtol=0, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_biases_of_experts_are_one_matrix_of_rank_one(axis: int, tmp_path: Path) -> None:
    writer = sample_writer(matrix=sample_layout("w", 1, G), bias=sample_layout("b", axis, G))
    stored = {"w": random(G, D, K), "b": random(*((G, D) if axis else (D, G)), seed=2)}
    save_file(stored, tmp_path / "model.safetensors")
    base = sample_base([writer.model_copy(update={"shape": [G, D, K]})], hidden_size=D)
    edit = sample_edit(writer)
    changes = planned_changes(sample_recipe([edit], norm_preservation="rows"), base, 4)
    assert [change.target for change in changes] == [Target("w", 1, G, 4, None), Target("b", axis, 1, 1, None)]
    slots = {name: [Slot(name, rank, hidden_last=True, bias=0)] for name, rank in (("w", 4), ("b", 1))}
    values, adapted = adapter_values(changes, Plan({}, slots), stored_tensors(tmp_path), DIRECTIONS, lambda _: None)
    after = edited_parameters([edit], stored, "rows", *DIRECTIONS.values())["b"]
    torch.testing.assert_close(products(values, "b", 1)[0].T, as_vectors(after - stored["b"], axis), rtol=0, atol=2e-6)
    assert adapted[0].relative_error > 0.01 > adapted[1].relative_error


def test_a_parameter_that_the_model_or_checkpoint_lacks_is_named(tmp_path: Path) -> None:
    edit = sample_edit(sample_writer(matrix=sample_layout("w")))
    with pytest.raises(UnwriteError, match="names w, which is not in the pinned model"):
        planned_changes(sample_recipe([edit]), sample_base([sample_writer()]), 4)
    with pytest.raises(UnwriteError, match="names w, which the checkpoint does not have"):
        values_of(edit, {"other": random(D, K)}, "none", 1, tmp_path)


def test_a_recipe_with_another_layout_than_the_base_has_is_an_expected_error() -> None:
    edit = sample_edit(sample_writer(matrix=sample_layout("weight", axis=2)))
    base = sample_base([sample_writer(matrix=edit.matrix, shape=(D, K))], hidden_size=D)
    with pytest.raises(UnwriteError, match=r"^weight: a weight must hold 1 matrices with hidden axis 2.*repro -f pin"):
        planned_changes(sample_recipe([edit]), base, 4)
