"""Tensors as byte ranges: exactly the requested bytes are read, and damage is named."""

import json
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.checkpoint_files import (
    SHARDS,
    TENSORS,
    data_start,
    entries,
    rewrite_header,
    same_bits,
    write_sharded,
    write_single,
)
from tests.support.edited import write_rows
from unwrite.errors import UnwriteError
from unwrite.files import safetensors
from unwrite.files.checkpoints import SINGLE_FILE, stored_tensors
from unwrite.files.safetensors import (
    DTYPES,
    ByteRange,
    byte_blocks,
    read_header,
    read_rows,
    read_span,
    row_blocks,
    spans,
    split_tensor,
    torch_dtype,
)


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@st.composite
def tensors_of_any_kind(draw: st.DrawFn) -> dict[str, Tensor]:
    """Draw two to four tensors of random bytes: any bit pattern, including NaN."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    made = {}
    for i in range(draw(st.integers(2, 4))):
        dtype = draw(st.sampled_from(sorted(DTYPES.values(), key=str)))
        shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
        count = torch.Size(shape).numel() * dtype.itemsize
        raw = torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator)
        made[f"t{i}"] = raw.view(dtype).reshape(shape)
    return made


@given(tensors_of_any_kind(), st.data(), st.booleans())
def test_reading_rows_gives_the_bits_of_the_tensor(made: dict[str, Tensor], data: st.DataObject, shards: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sharded(folder, made, spread(made)) if shards else write_single(folder, made)
        stored = stored_tensors(folder)
        assert set(stored) == set(made)
        elements = data.draw(st.integers(1, 40))
        for key, tensor in made.items():
            blocks = [read_rows(stored[key], rows) for rows in row_blocks(stored[key].shape, elements)]
            assert same_bits(torch.cat(blocks), tensor)


def spread(made: dict[str, Tensor]) -> dict[str, str]:
    return {name: SHARDS[i % 2] for i, name in enumerate(made)}


@given(st.lists(st.integers(1, 50), min_size=1, max_size=3), st.integers(1, 200))
def test_row_blocks_cover_every_row_once_within_the_limit(shape: list[int], elements: int) -> None:
    blocks = list(row_blocks(shape, elements))
    width = torch.Size(shape[1:]).numel()
    assert [row for rows in blocks for row in range(shape[0])[rows]] == list(range(shape[0]))
    assert all((rows.stop - rows.start) * width <= max(elements, width) for rows in blocks)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parts_of_a_split_tensor_are_read_independently(tmp_path: Path, dtype: torch.dtype) -> None:
    stacked, flat = torch.arange(24.0).reshape(2, 3, 4).to(dtype), torch.arange(24.0).reshape(6, 4).to(dtype)
    write_single(tmp_path, {"flat": flat, "stacked": stacked})
    tensors = stored_tensors(tmp_path)
    for name in ("flat", "stacked"):
        parts = split_tensor(tensors[name], 2)
        assert [part.shape for part in parts] == [(3, 4), (3, 4)]
        assert torch.equal(torch.stack([read_rows(part, slice(0, 3)) for part in parts]), stacked)
        write_rows(parts[1], slice(1, 2), torch.full((1, 4), -1.0, dtype=dtype))
    stacked[1, 1] = flat[4] = -1
    actual = load_file(tmp_path / SINGLE_FILE)
    assert torch.equal(actual["flat"], flat)
    assert torch.equal(actual["stacked"], stacked)
    assert split_tensor(tensors["flat"], 1) == [tensors["flat"]]


@pytest.mark.parametrize(("shape", "parts"), [((6, 4), 4), ((6, 4), 0), ((2, 3, 4), 1), ((4, 3, 4), 2)])
def test_a_tensor_that_cannot_be_split_is_refused(tmp_path: Path, shape: tuple[int, ...], parts: int) -> None:
    write_single(tmp_path, {"w": torch.zeros(shape)})
    with pytest.raises(UnwriteError, match=f"which cannot be split in {parts} parts"):
        split_tensor(stored_tensors(tmp_path)["w"], parts)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_integers_and_quantized_weights_cannot_be_edited(tmp_path: Path, dtype: torch.dtype) -> None:
    write_single(tmp_path, {"q": torch.zeros(2, 3).to(dtype)})
    stored = stored_tensors(tmp_path)["q"]
    for attempt in (
        lambda: torch_dtype(stored),
        lambda: read_rows(stored, slice(0, 1)),
    ):
        with pytest.raises(UnwriteError, match=rf"as {stored.dtype}; only .* Point model.source at the unquantized"):
            attempt()


def test_a_file_cut_after_its_header_was_read_is_named(single: Path) -> None:
    stored = stored_tensors(single)["a.weight"]
    os.truncate(single / SINGLE_FILE, stored.offset + 1)
    with pytest.raises(UnwriteError, match="ended early: it changed while it was read"):
        read_rows(stored, slice(0, 4))


def test_a_header_is_read_as_the_library_writes_it(single: Path) -> None:
    header = entries(single / SINGLE_FILE)
    for name, tensor in read_header(single / SINGLE_FILE).items():
        assert tensor.shape == tuple(TENSORS[name].shape)
        assert tensor.dtype == header[name]["dtype"]
        begin = data_start((single / SINGLE_FILE).read_bytes())
        assert tensor.offset == begin + header[name]["data_offsets"][0]


def test_every_truncation_is_refused(single: Path) -> None:
    whole = (single / SINGLE_FILE).read_bytes()
    for length in range(len(whole)):
        (single / SINGLE_FILE).write_bytes(whole[:length])
        with pytest.raises(UnwriteError, match="Download it again"):
            read_header(single / SINGLE_FILE)


def test_data_longer_than_declared_is_refused(single: Path) -> None:
    with (single / SINGLE_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UnwriteError, match=r"has \d+ bytes, but its header declares \d+. Download it again"):
        read_header(single / SINGLE_FILE)


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**63, 2**64 - 1])
def test_an_absurd_header_length_is_refused(single: Path, length: int) -> None:
    raw = (single / SINGLE_FILE).read_bytes()
    (single / SINGLE_FILE).write_bytes(struct.pack("<Q", length) + raw[8:])
    with pytest.raises(UnwriteError, match="is not a safetensors file, or truncated"):
        read_header(single / SINGLE_FILE)


@pytest.mark.parametrize(
    "header", [b"{]", b"[]", b"55", b"null", b"\xff\xff", b'{"a": 5}', b'{"a": {}}', b"[" * 100_000]
)
def test_a_header_of_another_format_is_refused(single: Path, header: bytes) -> None:
    rewrite_header(single / SINGLE_FILE, header)
    with pytest.raises(UnwriteError, match="has a damaged safetensors header"):
        read_header(single / SINGLE_FILE)


def change(name: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].__setitem__(key, value)


@pytest.mark.parametrize(
    "damage",
    [
        change("a.weight", "data_offsets", [-48, 0]),
        change("a.weight", "data_offsets", [48, 0]),
        change("a.weight", "data_offsets", [0, 48]),
        change("a.weight", "data_offsets", [0]),
        change("a.weight", "data_offsets", ["0", "48"]),
        change("a.weight", "data_offsets", [0.0, 48.0]),
        change("a.weight", "data_offsets", None),
        change("a.weight", "shape", [4, 4]),
        change("a.weight", "shape", [-4, -3]),
        change("a.weight", "shape", [4.0, 3.0]),
        change("a.weight", "shape", None),
        change("a.weight", "dtype", "F64"),
        change("a.weight", "dtype", []),
        lambda header: header.pop("a.weight"),  # leaves a gap
        lambda header: header.update(twin=header["a.weight"]),  # two tensors in the same bytes
    ],
)
def test_corrupted_entries_are_refused(single: Path, damage: Callable[[dict[str, Any]], None]) -> None:
    header = entries(single / SINGLE_FILE)
    damage(header)
    rewrite_header(single / SINGLE_FILE, json.dumps(header).encode())
    with pytest.raises(UnwriteError, match=r"has a damaged safetensors header. Download it again"):
        read_header(single / SINGLE_FILE)


@given(st.data())
def test_a_header_with_a_flipped_byte_gives_tensors_or_an_expected_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / SINGLE_FILE
        save_file(TENSORS, file)
        raw = bytearray(file.read_bytes())
        raw[data.draw(st.integers(0, data_start(raw) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(raw)
        try:
            tensors = read_header(file)
        except UnwriteError:
            return
        assert all(tensor.offset <= len(raw) for tensor in tensors.values())


def test_a_dtype_of_a_later_version_of_the_format_is_accepted(single: Path) -> None:
    header = entries(single / SINGLE_FILE)
    header["a.weight"] |= {"dtype": "F4", "shape": [96]}
    rewrite_header(single / SINGLE_FILE, json.dumps(header).encode())
    assert read_header(single / SINGLE_FILE)["a.weight"].dtype == "F4"


def test_spans_tile_a_file(sharded: Path) -> None:
    tensors = stored_tensors(sharded)
    for shard in SHARDS:
        actual = list(spans(sharded / shard, tensors))
        assert [span.tensor for span in actual] == [None, *(n for n, t in tensors.items() if t.file.name == shard)]
        assert [span.start for span in actual] == [0, *(span.stop for span in actual[:-1])]
        assert actual[-1].stop == (sharded / shard).stat().st_size
        assert b"".join(b"".join(read_span(span)) for span in actual) == (sharded / shard).read_bytes()


def test_a_span_is_read_in_blocks(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "BLOCK_BYTES", 10)
    span = ByteRange(single / SINGLE_FILE, None, 3, 28)
    assert [len(block) for block in read_span(span)] == [10, 10, 5]
    assert [len(block) for block in byte_blocks(torch.ones(3, 2).bfloat16())] == [10, 2]
    assert b"".join(byte_blocks(TENSORS["a.weight"])) == TENSORS["a.weight"].numpy().tobytes()


def test_blocks_have_a_multiple_of_rows() -> None:
    assert [(rows.start, rows.stop) for rows in row_blocks((10, 3), 13, 2)] == [(0, 4), (4, 8), (8, 10)]
    assert [(rows.start, rows.stop) for rows in row_blocks((5, 9), 1, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_header_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    for header, refused in ((f'{{"a":{entry}}}', False), (f'{{"a":{entry},"a":{entry}}}', True)):
        path = tmp_path / "model.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"x")
        if refused:
            with pytest.raises(UnwriteError, match="has the key 'a' twice"):
                read_header(path)
        else:
            assert list(read_header(path)) == ["a"]
