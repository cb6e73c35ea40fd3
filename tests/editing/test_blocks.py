"""Weights a few rows at a time: the same values from memory and from the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support.samples import sample_layout
from tests.support.weights import DIRECTIONS, MEANS, MODES, PARAMETERS, PLAIN, TRANSPOSED, D, K, edits_of
from unwrite.core.edit import Blocks
from unwrite.core.layout import as_matrices
from unwrite.editing import blocks
from unwrite.editing.blocks import blocks_in_memory, blocks_of_matrix, blocks_of_model, blocks_on_disk
from unwrite.editing.edit_cache import EditCache, factors_of_trials
from unwrite.errors import UnwriteError
from unwrite.files import safetensors
from unwrite.files.checkpoints import stored_tensors
from unwrite.schema.artifacts import ParameterLayout
from unwrite.terms import NormPreservation

ROUNDED = {name: value.bfloat16() for name, value in PARAMETERS.items()}
QUANTIZED = {
    **ROUNDED,
    "0.mlp.weight": torch.zeros(1, dtype=torch.uint8),
    "transposed": torch.zeros(1, dtype=torch.int8),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(ROUNDED, tmp_path / "model.safetensors")
    return tmp_path


def joined(read: Blocks) -> Tensor:
    """All rows, which must be consecutive."""
    end, actual = 0, []
    for rows, block in read():
        assert (rows.start, len(block)) == (end, rows.stop - rows.start)
        end = rows.stop
        actual.append(block)
    return torch.cat(actual)


def test_blocks_of_a_matrix_cover_it_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "row_blocks", lambda shape: safetensors.row_blocks(shape, 3 * K))
    matrix = PARAMETERS["0.mlp.weight"]
    assert [len(block) for _, block in blocks_of_matrix(matrix)] == [3, 3, 3, 3]
    assert torch.equal(joined(lambda: blocks_of_matrix(matrix)), matrix)


@pytest.mark.parametrize("layout", [PLAIN.matrix, TRANSPOSED.matrix], ids=["plain", "transposed"])
def test_every_source_gives_the_matrix_hidden_axis_first(layout: ParameterLayout, folder: Path) -> None:
    matrix = as_matrices(ROUNDED[layout.parameter], layout.axis, 1)[0]
    assert matrix.shape == (D, K)
    assert torch.equal(joined(blocks_in_memory(ROUNDED, layout)), matrix)
    assert torch.equal(joined(blocks_on_disk(stored_tensors(folder), layout)), matrix)
    assert torch.equal(joined(blocks_of_model(QUANTIZED, folder)(layout)), matrix)
    assert torch.equal(joined(blocks_of_model(ROUNDED, folder / "nowhere")(layout)), matrix)


@pytest.mark.parametrize("mode", MODES)
def test_memory_and_checkpoint_give_the_same_closed_form(mode: NormPreservation, folder: Path) -> None:
    on_disk = blocks_of_model(QUANTIZED, folder)
    in_memory = blocks_of_model(ROUNDED, folder / "nowhere")
    for writer in (PLAIN, TRANSPOSED):
        from_disk, from_memory = (
            factors_of_trials(EditCache(read, ROUNDED, mode, DIRECTIONS, MEANS), edits_of(writer))
            for read in (on_disk, in_memory)
        )
        assert all(torch.equal(disk, memory) for disk, memory in zip(from_disk, from_memory, strict=True))


def test_headers_are_read_once_and_only_for_quantized_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counted(folder: Path) -> dict[str, safetensors.StoredTensor]:
        reads.append(folder)
        return stored_tensors(folder)

    monkeypatch.setattr(blocks, "stored_tensors", counted)
    find = blocks_of_model(ROUNDED, folder)
    find(PLAIN.matrix)
    assert reads == []
    find = blocks_of_model(QUANTIZED, folder)
    find(PLAIN.matrix)
    find(TRANSPOSED.matrix)
    assert reads == [folder]


def test_a_tensor_that_the_checkpoint_lacks_is_named(folder: Path) -> None:
    with pytest.raises(UnwriteError, match=r"The checkpoint has no other"):
        blocks_on_disk(stored_tensors(folder), sample_layout("other"))
