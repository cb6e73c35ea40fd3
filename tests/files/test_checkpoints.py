"""Checkpoints as byte ranges: exactly the asked bytes are read and overwritten, and damage is named."""

import errno
import json
import os
import shutil
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

from tests.support.edited import write_rows
from unwrite.errors import UnwriteError
from unwrite.files import checkpoints
from unwrite.files.checkpoints import (
    DTYPES,
    INDEX_FILE,
    SINGLE_FILE,
    ByteRange,
    byte_blocks,
    copy_file,
    cut,
    model_files,
    named_shards,
    read_header,
    read_rows,
    read_span,
    row_blocks,
    shard_files,
    spans,
    stored_tensors,
    torch_dtype,
)

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TENSORS = {
    "a.weight": torch.arange(12.0).reshape(4, 3),
    "b.weight": torch.arange(10.0).reshape(5, 2).bfloat16(),
    "b.bias": torch.arange(5.0).double(),
}
PLACES = {"a.weight": SHARDS[0], "b.weight": SHARDS[1], "b.bias": SHARDS[1]}


def write_single(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / SINGLE_FILE, metadata={"format": "pt"})


def write_sharded(folder: Path, tensors: dict[str, Tensor], places: dict[str, str]) -> None:
    for shard in set(places.values()):
        held = {name: tensor for name, tensor in tensors.items() if places[name] == shard}
        save_file(held, folder / shard, metadata={"format": "pt"})
    write_index(folder, {"metadata": {}, "weight_map": places})


def write_index(folder: Path, index: Any) -> None:
    (folder / INDEX_FILE).write_text(json.dumps(index))


@pytest.fixture
def single(tmp_path: Path) -> Path:
    write_single(tmp_path, TENSORS)
    return tmp_path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    write_sharded(tmp_path, TENSORS, PLACES)
    return tmp_path


def same_bits(one: Tensor, other: Tensor) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.contiguous().view(torch.uint8).equal(other.contiguous().view(torch.uint8))
    )


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Reading and overwriting rows


@st.composite
def tensors_of_any_kind(draw: st.DrawFn) -> dict[str, Tensor]:
    """Two to four tensors of bytes at random: every bit pattern, NaN among them."""
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
def test_reading_rows_gives_the_tensor_to_the_bit(made: dict[str, Tensor], data: st.DataObject, shards: bool) -> None:
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


def entries(file: Path) -> dict[str, Any]:
    """The header but for the metadata."""
    raw = file.read_bytes()
    header: dict[str, Any] = json.loads(raw[8 : data_start(raw)])
    header.pop("__metadata__", None)
    return header


def data_start(file: bytes | bytearray) -> int:
    return 8 + int(struct.unpack("<Q", file[:8])[0])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=3), st.integers(1, 200))
def test_row_blocks_cover_every_row_once_within_the_limit(shape: list[int], elements: int) -> None:
    blocks = list(row_blocks(shape, elements))
    width = torch.Size(shape[1:]).numel()
    assert [row for rows in blocks for row in range(shape[0])[rows]] == list(range(shape[0]))
    assert all((rows.stop - rows.start) * width <= max(elements, width) for rows in blocks)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parts_are_read_by_themselves(tmp_path: Path, dtype: torch.dtype) -> None:
    stacked, flat = torch.arange(24.0).reshape(2, 3, 4).to(dtype), torch.arange(24.0).reshape(6, 4).to(dtype)
    write_single(tmp_path, {"flat": flat, "stacked": stacked})
    tensors = stored_tensors(tmp_path)
    for name in ("flat", "stacked"):
        parts = cut(tensors[name], 2)
        assert [part.shape for part in parts] == [(3, 4), (3, 4)]
        assert torch.equal(torch.stack([read_rows(part, slice(0, 3)) for part in parts]), stacked)
        write_rows(parts[1], slice(1, 2), torch.full((1, 4), -1.0, dtype=dtype))
    stacked[1, 1] = flat[4] = -1
    found = load_file(tmp_path / SINGLE_FILE)
    assert torch.equal(found["flat"], flat)
    assert torch.equal(found["stacked"], stacked)
    assert cut(tensors["flat"], 1) == [tensors["flat"]]


@pytest.mark.parametrize(("shape", "parts"), [((6, 4), 4), ((6, 4), 0), ((2, 3, 4), 1), ((4, 3, 4), 2)])
def test_what_can_not_be_cut_is_refused(tmp_path: Path, shape: tuple[int, ...], parts: int) -> None:
    write_single(tmp_path, {"w": torch.zeros(shape)})
    with pytest.raises(UnwriteError, match=f"which can't be cut into {parts}"):
        cut(stored_tensors(tmp_path)["w"], parts)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_integers_and_quantized_weights_can_not_be_edited(tmp_path: Path, dtype: torch.dtype) -> None:
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


# Which files make up a checkpoint


def test_files_of_a_single_checkpoint_and_its_companions(single: Path) -> None:
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "LICENSE", "spiece.model", "merges.txt"):
        (single / name).write_text("{}")
    for other in ("README.md", "model.py", "pytorch_model.bin", "pytorch_model.bin.index.json"):
        (single / other).write_text("{}")
    (single / "folder.json").mkdir()
    assert model_files(single) == [
        "LICENSE",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        SINGLE_FILE,
        "spiece.model",
        "tokenizer.json",
    ]
    assert set(model_files(single, code=True)) == {*model_files(single), "model.py"}


def test_files_of_a_sharded_checkpoint(sharded: Path) -> None:
    assert shard_files(sharded) == list(SHARDS)
    assert model_files(sharded) == sorted([*SHARDS, INDEX_FILE])
    assert {name: tensor.file.name for name, tensor in stored_tensors(sharded).items()} == PLACES


def test_the_single_file_counts_where_both_are(sharded: Path) -> None:
    # As transformers does: editing the shards would change nothing that is loaded.
    write_single(sharded, {"other": torch.zeros(2)})
    assert model_files(sharded) == [SINGLE_FILE]
    assert set(stored_tensors(sharded)) == {"other"}


def test_transformers_too_takes_the_single_file_where_both_are(sharded: Path) -> None:
    from transformers.modeling_utils import _get_resolved_checkpoint_files

    write_single(sharded, {"other": torch.zeros(2)})
    files, _ = _get_resolved_checkpoint_files(
        str(sharded), variant=None, gguf_file=None, use_safetensors=None, user_agent=None, is_remote_code=False
    )
    assert [Path(file).name for file in files or []] == [SINGLE_FILE]


def test_links_of_a_download_cache_are_followed(single: Path, tmp_path: Path) -> None:
    cache = tmp_path / "snapshot"
    cache.mkdir()
    (cache / SINGLE_FILE).symlink_to(Path("..") / SINGLE_FILE)
    assert model_files(cache) == [SINGLE_FILE]
    assert same_bits(read_rows(stored_tensors(cache)["a.weight"], slice(0, 4)), TENSORS["a.weight"])


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "last.ckpt"])
def test_pickled_weights_are_refused_with_what_to_do(tmp_path: Path, pickle: str) -> None:
    (tmp_path / pickle).write_bytes(b"\x80\x04.")
    with pytest.raises(UnwriteError, match=rf"only pickled weights \({pickle}\).* Convert them to safetensors"):
        model_files(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=f"has neither {SINGLE_FILE} nor {INDEX_FILE}"):
        stored_tensors(tmp_path)


@pytest.mark.parametrize("what", ["missing", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwriteError, match=f"{what} is not a folder: check model.source"):
        model_files(tmp_path / what)


# The index


@pytest.mark.parametrize("remove", ["missing", "broken link"])
def test_index_that_names_a_missing_shard(sharded: Path, remove: str) -> None:
    (sharded / SHARDS[1]).unlink()
    if remove == "broken link":
        (sharded / SHARDS[1]).symlink_to("nowhere")
    with pytest.raises(UnwriteError, match=f"names the shard {SHARDS[1]}, which is missing. Download it again"):
        model_files(sharded)


@pytest.mark.parametrize("path", ["../x.safetensors", "/etc/x", "a/b.safetensors", "..", ".", "", "a/", "x\0y"])
def test_index_that_names_a_path_is_refused_or_finds_nothing(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "model"
    (inside / "a").mkdir(parents=True)
    save_file(TENSORS, tmp_path / "x.safetensors")
    save_file(TENSORS, inside / "a" / "b.safetensors")
    write_index(inside, {"weight_map": {"a.weight": path}})
    with pytest.raises(UnwriteError, match=r"not a plain file name in that folder. Refused|which is missing"):
        stored_tensors(inside)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"weight_map": []}',
        b'{"weight_map": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_index_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX_FILE).write_bytes(content)
    with pytest.raises(UnwriteError, match=r"is not a safetensors index \(an object with weight_map\)"):
        shard_files(tmp_path)


def test_index_that_claims_a_tensor_for_the_wrong_shard(sharded: Path) -> None:
    write_index(sharded, {"weight_map": {**PLACES, "a.weight": SHARDS[1], "b.weight": SHARDS[0]}})
    with pytest.raises(UnwriteError, match=f"says that {SHARDS[1]} holds a.weight, but it does not"):
        stored_tensors(sharded)


def test_index_that_claims_a_tensor_that_is_nowhere(sharded: Path) -> None:
    write_index(sharded, {"weight_map": {**PLACES, "ghost": SHARDS[0]}})
    with pytest.raises(UnwriteError, match=f"says that {SHARDS[0]} holds ghost, but it does not"):
        stored_tensors(sharded)


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    save_file(TENSORS, sharded / SHARDS[0])
    with pytest.raises(UnwriteError, match=f"the tensor b.bias is in {SHARDS[0]} and in {SHARDS[1]}"):
        stored_tensors(sharded)


# One file


def rewrite_header(file: Path, header: bytes) -> None:
    raw = file.read_bytes()
    file.write_bytes(struct.pack("<Q", len(header)) + header + raw[data_start(raw) :])


def test_a_header_as_the_library_writes_it(single: Path) -> None:
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
    with pytest.raises(UnwriteError, match=r"has \d+ bytes, its header declares \d+. Download it again"):
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
def test_a_header_of_another_kind_is_refused(single: Path, header: bytes) -> None:
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
        lambda header: header.pop("a.weight"),  # leaves a hole
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


def test_a_dtype_of_a_later_version_of_the_format_passes(single: Path) -> None:
    header = entries(single / SINGLE_FILE)
    header["a.weight"] |= {"dtype": "F4", "shape": [96]}
    rewrite_header(single / SINGLE_FILE, json.dumps(header).encode())
    assert read_header(single / SINGLE_FILE)["a.weight"].dtype == "F4"


# Spans


def test_spans_tile_a_file(sharded: Path) -> None:
    tensors = stored_tensors(sharded)
    for shard in SHARDS:
        found = list(spans(sharded / shard, tensors))
        assert [span.tensor for span in found] == [None, *(n for n, t in tensors.items() if t.file.name == shard)]
        assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
        assert found[-1].stop == (sharded / shard).stat().st_size
        assert b"".join(b"".join(read_span(span)) for span in found) == (sharded / shard).read_bytes()


def test_a_span_is_read_in_blocks(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "BLOCK_BYTES", 10)
    span = ByteRange(single / SINGLE_FILE, None, 3, 28)
    assert [len(block) for block in read_span(span)] == [10, 10, 5]
    assert [len(block) for block in byte_blocks(torch.ones(3, 2).bfloat16())] == [10, 2]
    assert b"".join(byte_blocks(TENSORS["a.weight"])) == TENSORS["a.weight"].numpy().tobytes()


def test_rows_come_in_multiples() -> None:
    assert [(rows.start, rows.stop) for rows in row_blocks((10, 3), 13, 2)] == [(0, 4), (4, 8), (8, 10)]
    assert [(rows.start, rows.stop) for rows in row_blocks((5, 9), 1, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_shards_are_named_whether_they_are_there_or_not(sharded: Path) -> None:
    (sharded / SHARDS[0]).unlink()
    assert named_shards(sharded) == list(SHARDS)
    with pytest.raises(UnwriteError, match="names the shard"):
        shard_files(sharded)


# Copying

DATA = bytes(range(256)) * 500


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(DATA)
    return tmp_path / "source"


def test_copy_is_equal_and_its_own(source: Path, tmp_path: Path) -> None:
    copy_file(source, tmp_path / "target")
    (tmp_path / "target").open("r+b").close()
    assert (tmp_path / "target").read_bytes() == DATA
    (tmp_path / "target").write_bytes(b"changed")
    assert source.read_bytes() == DATA


def test_copy_of_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    copy_file(tmp_path / "empty", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""


def test_copy_of_a_link_is_the_content_it_points_to(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("source")
    copy_file(tmp_path / "link", tmp_path / "target")
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == DATA


def test_copy_in_several_pieces(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def a_little(reader: int, writer: int, count: int) -> int:
        return os.write(writer, os.read(reader, min(count, 1000)))

    monkeypatch.setattr(os, "copy_file_range", a_little, raising=False)
    monkeypatch.setattr(shutil, "copyfile", None)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize("code", ["EXDEV", "ENOSYS", "EOPNOTSUPP", "EINVAL", "EPERM"])
def test_copy_falls_back_where_the_kernel_refuses(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def refuse(*_: int) -> int:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


def test_copy_falls_back_where_the_system_has_no_such_call(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


def test_copy_falls_back_where_the_kernel_copies_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0, raising=False)
    copy_file(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA


@pytest.mark.parametrize("code", ["ENOSPC", "EIO", "EDQUOT"])
def test_a_full_disk_is_no_reason_to_fall_back(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    def full(*_: int) -> int:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    with pytest.raises(OSError, match=code) as caught:
        copy_file(source, tmp_path / "target")
    assert caught.value.errno == getattr(errno, code)


def test_a_source_that_shrinks_while_copied_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrinks(reader: int, writer: int, count: int) -> int:
        copied = os.write(writer, os.read(reader, count))
        os.truncate(source, 10)
        return copied

    monkeypatch.setattr(os, "copy_file_range", shrinks, raising=False)
    with pytest.raises(UnwriteError, match="source changed while it was copied"):
        copy_file(source, tmp_path / "target")


def test_copy_of_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "target")
