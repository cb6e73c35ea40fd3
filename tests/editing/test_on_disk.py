"""Edited bytes of stored tensors: equal to the edit in memory to the bit, in every layout, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.edited import edit_on_disk, overwrite
from tests.support.samples import sample_direction, sample_edit, sample_recipe, sample_writer
from tests.support.small_checkpoint import DIRECTIONS, random, saved
from unwrite.core import streaming
from unwrite.core.edit import edit_weight
from unwrite.core.layout import as_matrices, as_vectors
from unwrite.core.rounding import round_to
from unwrite.editing import on_disk
from unwrite.editing.changes import TensorChange
from unwrite.editing.on_disk import changed_blocks, edited_biases, matrix_parts, merged_spans
from unwrite.errors import UnwriteError
from unwrite.files import safetensors
from unwrite.files.safetensors import StoredTensor, read_rows
from unwrite.schema.artifacts import StoredLayout
from unwrite.terms import NormPreservation

MODES: tuple[NormPreservation, ...] = get_args(NormPreservation)
V = torch.nn.functional.normalize(torch.arange(1.0, 9).double(), dim=0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def limited_row_blocks(numbers: int, shape: Sequence[int], *_: int) -> Iterator[slice]:
    return safetensors.row_blocks(shape, numbers)


def change(
    shape: Sequence[int] = (8, 5),
    axis: int = 0,
    num_matrices: int = 1,
    *,
    weight: float = 0.8,
    mode: NormPreservation = "rows",
    bias: bool = False,
    direction: Tensor = V,
) -> TensorChange:
    return TensorChange(StoredLayout(tensor="w", axis=axis, num_matrices=num_matrices), weight, direction, mode, bias)


def test_an_edit_changes_its_weight_and_its_bias_and_nothing_else() -> None:
    before = {"0.mlp.weight": random(8, 5), "0.mlp.bias": random(8, seed=1), "other": random(8, 5, seed=2)}
    saved(before)
    of = sample_edit(sample_writer(0, "mlp", bias=True), 0.7, sample_direction(2.0))
    edit_on_disk(Path(), sample_recipe([of], norm_preservation="columns"), DIRECTIONS)
    after = load_file("model.safetensors")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"0.mlp.weight", "0.mlp.bias"}
    # Column norms stay, and the part of the bias along v shrinks by 1 − λ.
    v = DIRECTIONS["directions"][0, 2]
    torch.testing.assert_close(after["0.mlp.weight"].norm(dim=0), before["0.mlp.weight"].norm(dim=0))
    torch.testing.assert_close(after["0.mlp.bias"] @ v, 0.3 * (before["0.mlp.bias"] @ v))


LAYOUTS = [((8, 5), 0, 1), ((5, 8), 1, 1), ((15, 8), 1, 3), ((3, 8, 5), 1, 3), ((3, 5, 8), 2, 3), ((8, 3, 5), 0, 3)]
LAYOUTS += [((1, 8, 5), 1, 1), ((1, 5, 8), 2, 1), ((8, 1, 5), 0, 1), ((8, 15), 0, 3)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "axis", "num_matrices"), LAYOUTS)
def test_every_layout_is_edited_on_disk_as_in_memory(
    shape: tuple[int, ...], axis: int, num_matrices: int, mode: NormPreservation
) -> None:
    weight = random(*shape, dtype=torch.bfloat16)
    places = saved({"a": torch.ones(7), "w": weight, "z": torch.ones(7)})
    overwrite(places["w"], change(shape, axis, num_matrices, mode=mode))
    actual = load_file("model.safetensors")
    for before, after in zip(
        as_matrices(weight, axis, num_matrices), as_matrices(actual["w"], axis, num_matrices), strict=True
    ):
        exact = edit_weight(before, V, 0.8, mode)
        assert torch.equal(after, round_to(exact, torch.bfloat16))
    assert not torch.equal(actual["w"], weight)
    assert torch.equal(actual["a"], torch.ones(7))
    assert torch.equal(actual["z"], torch.ones(7))


PART_SHAPES = [[(8, 5)], [(5, 8)], [(5, 8)] * 3, [(8, 5)] * 3, [(5, 8)] * 3, [(8, 3, 5)]]
PART_SHAPES += [[(8, 5)], [(5, 8)], [(8, 1, 5)], [(8, 15)]]


@pytest.mark.parametrize(("layout", "shapes"), list(zip(LAYOUTS, PART_SHAPES, strict=True)))
def test_a_tensor_is_cut_into_its_matrices_unless_they_lie_side_by_side(
    layout: tuple[tuple[int, ...], int, int], shapes: list[tuple[int, ...]]
) -> None:
    shape, axis, num_matrices = layout
    weight = random(*shape)
    parts = matrix_parts(saved({"w": weight})["w"], StoredLayout(tensor="w", axis=axis, num_matrices=num_matrices))
    assert [part.tensor.shape for part in parts] == shapes
    actual = [as_matrices(read_rows(part.tensor, slice(0, part.tensor.shape[0])), *part[1:]) for part in parts]
    assert torch.equal(torch.cat(actual), as_matrices(weight, axis, num_matrices))


@pytest.mark.parametrize(("shape", "axis"), [((8,), 0), ((3, 8), 1), ((8, 3), 0)])
def test_every_bias_is_edited_on_disk_vector_by_vector(shape: tuple[int, ...], axis: int) -> None:
    bias = random(*shape)
    stored, full = saved({"b": bias})["b"], change(shape, axis, max(1, bias.numel() // 8), weight=1.0, bias=True)
    values = edited_biases(stored, full)
    overwrite(stored, full)
    assert torch.equal(load_file("model.safetensors")["b"], values)
    actual = as_vectors(load_file("model.safetensors")["b"], axis)
    assert float((actual.double() @ V).abs().max()) < 1e-6 < float((as_vectors(bias, axis).double() @ V).abs().min())
    torch.testing.assert_close(actual.double(), as_vectors(bias, axis).double() @ (torch.eye(8) - torch.outer(V, V)))


@pytest.mark.parametrize(("shape", "axis", "num_matrices"), [*LAYOUTS, ((8,), 0, 1)])
def test_blocks_cover_a_tensor_from_its_first_byte_to_its_last(
    shape: tuple[int, ...], axis: int, num_matrices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk, "row_blocks", lambda shape, *_: safetensors.row_blocks(shape, 6))
    tensor = saved({"w": random(*shape, dtype=torch.float16)})["w"]
    end = 0
    for offset, values in changed_blocks(tensor, change(shape, axis, num_matrices, bias=len(shape) == 1)):
        assert offset == end
        assert (values.dtype, values.is_contiguous()) == (torch.float16, True)
        end += values.nbytes
    assert end == 2 * torch.Size(shape).numel()


def test_one_expert_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []

    def note(tensor: StoredTensor, rows: slice) -> Tensor:
        read.append((rows.stop - rows.start, *tensor.shape[1:]))
        return read_rows(tensor, rows)

    monkeypatch.setattr(safetensors, "read_rows", note)
    ones = torch.nn.functional.normalize(torch.ones(8).double(), dim=0)
    places = saved({"w": torch.ones(3, 5, 8), "f": torch.ones(15, 8)})
    overwrite(places["w"], change((3, 5, 8), 2, 3, weight=1.0, direction=ones))
    overwrite(places["f"], change((15, 8), 1, 3, weight=1.0, direction=ones))
    assert set(read) == {(5, 8)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_the_bytes_depend_on_neither_threads_nor_blocks(
    mode: NormPreservation, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = saved({"w": random(130, 700, dtype=dtype)})["w"]
    v = torch.nn.functional.normalize(random(130, dtype=torch.float64, seed=1), dim=0)
    actual = []
    before = torch.get_num_threads()
    held = streaming.CACHED
    for threads, cached, elements in ((1, held, 1 << 20), (2, 1 << 20, 1 << 20), (2, 999, 5000), (1, 1, 701)):
        torch.set_num_threads(threads)
        monkeypatch.setattr(streaming, "CACHED", cached)
        monkeypatch.setattr(on_disk, "row_blocks", lambda shape, *_, most=elements: safetensors.row_blocks(shape, most))
        blocks = [values for _, values in changed_blocks(tensor, change(mode=mode, direction=v))]
        actual.append(torch.cat(blocks))
    torch.set_num_threads(before)
    assert all(torch.equal(values, actual[0]) for values in actual)
    assert not torch.equal(actual[0], load_file("model.safetensors")["w"])


@pytest.mark.parametrize("block", [7, 1 << 18])
def test_a_merged_file_is_the_base_with_the_changes(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "BLOCK_BYTES", block)
    before = {"a": random(3), "w": random(8, 5, dtype=torch.bfloat16), "b": torch.arange(9), "e": torch.ones(0, 3)}
    tensors, changes = saved(before), {"w": change()}
    old, new, names = b"", b"", []
    for span, blocks in merged_spans(Path("model.safetensors"), tensors, changes):
        names.append(span.tensor)
        pairs = list(blocks)
        assert all(len(before) == len(after) for before, after in pairs)
        assert all(before is after for before, after in pairs) == (span.tensor != "w")
        old, new = (
            (sides + b"".join(one) for sides, one in zip((old, new), zip(*pairs, strict=True), strict=True))
            if pairs
            else (old, new)
        )
    assert names == [None, *tensors]
    raw = Path("model.safetensors").read_bytes()
    assert old == raw
    overwrite(tensors["w"], changes["w"])
    assert new == Path("model.safetensors").read_bytes() != raw


def test_a_file_without_tensors_stays_as_it_is() -> None:
    Path("config.json").write_text("{}")
    (actual,) = merged_spans(Path("config.json"), {}, {})
    assert list(actual[1]) == [(b"{}", b"{}")]


def test_a_file_that_ends_early_is_named() -> None:
    tensors = saved({"w": random(8, 5)})
    spans = merged_spans(Path("model.safetensors"), tensors, {})
    next(spans)
    _, blocks = next(spans)
    Path("model.safetensors").write_bytes(b"")
    with pytest.raises(UnwriteError, match=r"model\.safetensors ended early"):
        list(blocks)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("value", "weight", "reason"), [(float("nan"), 1.0, "the weight holds NaN"), (6e4, 20.0, "values must be at most")]
)
def test_a_tensor_that_cannot_be_edited_is_an_error_with_a_remedy(
    axis: int, value: float, weight: float, reason: str
) -> None:
    stored = saved({"w": torch.full((8, 8), value, dtype=torch.float16)})["w"]
    with pytest.raises(UnwriteError, match=f"^w: {reason}.*Check the files of the base model"):
        list(changed_blocks(stored, change((8, 8), axis, weight=weight, mode="none")))
