"""Every difference between a release and the declared edit of its base is found, counted and named."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.edited import overwrite
from unwrite.editing.changes import TensorChange
from unwrite.errors import UnwriteError
from unwrite.files import safetensors
from unwrite.files.checkpoints import INDEX_FILE, SINGLE_FILE, stored_tensors
from unwrite.files.hashing import sha256_of
from unwrite.files.threads import map_in_threads
from unwrite.release.compare import ReleaseComparison, compare_checkpoints
from unwrite.release.tensor_comparison import TensorComparison
from unwrite.schema.artifacts import StoredLayout

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
V = torch.nn.functional.normalize(torch.arange(1.0, 9).double(), dim=0)
RELEASE, BASE = Path("release"), Path("base")


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


TENSORS = {
    ONE: {"embedding": random(6, 8, seed=0), "0.weight": random(8, 5, seed=1), "0.bias": random(8, seed=2)},
    TWO: {"1.weight": random(8, 5, seed=3), "counts": torch.arange(5), "norm": torch.ones(8, dtype=torch.bfloat16)},
}
CHANGES = {
    "0.weight": TensorChange(StoredLayout(tensor="0.weight", axis=0, num_matrices=1), 1.0, V, "rows", bias=False),
    "0.bias": TensorChange(StoredLayout(tensor="0.bias", axis=0, num_matrices=1), 1.0, V, "rows", bias=True),
    "1.weight": TensorChange(StoredLayout(tensor="1.weight", axis=0, num_matrices=1), 0.7, V, "rows", bias=False),
}


def write(folder: Path, shards: Mapping[str, Mapping[str, Tensor]]) -> None:
    folder.mkdir(exist_ok=True)
    for name, tensors in shards.items():
        save_file(dict(tensors), folder / name, {"format": "pt"})
    weight_map = {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(safetensors, "BLOCK_BYTES", 64)  # so that a tensor takes several blocks
    write(BASE, TENSORS)
    shutil.copytree(BASE, RELEASE)
    tensors = stored_tensors(RELEASE)
    for name, change in CHANGES.items():
        overwrite(tensors[name], change)


def compared(changes: Mapping[str, TensorChange] = CHANGES, threads: int = 1) -> ReleaseComparison:
    return compare_checkpoints(RELEASE, BASE, changes, map_in_threads(threads))


def differing(comparison: ReleaseComparison) -> dict[str, TensorComparison]:
    return {name: one for name, one in comparison.tensors.items() if one.differing}


def change_numbers(name: str, work: Callable[[Tensor], object]) -> None:
    """Change the values of a tensor of the release, given as one flat tensor."""
    shard = stored_tensors(RELEASE)[name].file
    tensors = load_file(shard)
    work(tensors[name].view(-1))
    save_file(tensors, shard, {"format": "pt"})


def released() -> dict[str, dict[str, Tensor]]:
    return {shard: load_file(RELEASE / shard) for shard in (ONE, TWO)}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_correct_release_has_no_differences(threads: int) -> None:
    found = compared(threads=threads)
    assert found.headers == []
    assert list(found.tensors) == [name for shard in TENSORS.values() for name in stored_order(shard)]
    for name, one in found.tensors.items():
        tensor = {**TENSORS[ONE], **TENSORS[TWO]}[name]
        numbers = tensor.numel() if tensor.is_floating_point() else tensor.nbytes
        assert one[:6] == (name in CHANGES, numbers, 0, 0, 0.0, name not in CHANGES)
    assert found.release_sums == {name: sha256_of(RELEASE / name) for name in (ONE, TWO)}
    assert found.base_sums == {name: sha256_of(BASE / name) for name in (ONE, TWO)}
    assert found.release_sums != found.base_sums


def stored_order(shard: Mapping[str, Tensor]) -> list[str]:
    save_file(dict(shard), "order.safetensors")
    return list(safetensors.read_header(Path("order.safetensors")))


def flip(bit: int, place: int = 0) -> Callable[[Tensor], None]:
    def flipped(numbers: Tensor) -> None:
        numbers.view(torch.int16)[place] ^= 1 << bit

    return flipped


@pytest.mark.parametrize("place", [0, 20, -1])
def test_one_flipped_bit_in_an_unedited_tensor(place: int) -> None:
    change_numbers("embedding", flip(0, place))
    (name, one), *others = differing(compared()).items()
    assert (name, one.declared, one.differing, one.equals_base, others) == ("embedding", False, 1, False, [])
    before, after = TENSORS[ONE]["embedding"].view(-1)[place], load_file(RELEASE / ONE)["embedding"].view(-1)[place]
    assert one.largest == abs(float(before) - float(after)) > 0


@pytest.mark.parametrize(("bit", "rounded"), [(0, 1), (6, 0), (15, 0)])
def test_one_flipped_bit_in_an_edited_tensor(bit: int, rounded: int) -> None:
    change_numbers("0.weight", flip(bit, 7))
    (name, one), *others = differing(compared()).items()
    assert (name, one.declared, one.differing, one.rounded, others) == ("0.weight", True, 1, rounded, [])


def test_neighbours_are_roundings_also_across_zero() -> None:
    # Zero columns of a weight stay zero: there 0 is what should be.
    tensors = load_file(BASE / TWO)
    tensors["1.weight"][:, 0] = 0
    for folder in (BASE, RELEASE):
        save_file(tensors, folder / TWO, {"format": "pt"})
    overwrite(stored_tensors(RELEASE)["1.weight"], CHANGES["1.weight"])
    tiny = 2.0**-133  # bfloat16's smallest
    values = torch.tensor([0.0, -0.0, tiny, -tiny, 2 * tiny, -2 * tiny]).bfloat16()
    change_numbers("1.weight", lambda numbers: numbers.view(8, 5)[:6, 0].copy_(values))
    one = compared().tensors["1.weight"]
    assert (one.differing, one.rounded, one.largest) == (5, 3, 2 * tiny)


@pytest.mark.parametrize("steps", [1, 2, -1, -2])
def test_every_value_off_by_one_or_two_ulps(steps: int) -> None:
    towards = torch.full((), math.copysign(math.inf, steps), dtype=torch.bfloat16)

    def shift(numbers: Tensor) -> None:
        for _ in range(abs(steps)):
            numbers.copy_(torch.nextafter(numbers, towards))

    change_numbers("0.weight", shift)
    one = compared().tensors["0.weight"]
    assert (one.numbers, one.differing, one.rounded) == (40, 40, 40 if abs(steps) == 1 else 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_infinitely_far_and_not_a_rounding(value: float) -> None:
    change_numbers("0.weight", lambda numbers: numbers[3].fill_(value))
    one = compared().tensors["0.weight"]
    assert (one.differing, one.rounded, one.largest) == (1, 0, math.inf)


def test_nan_with_equal_bits_is_equal() -> None:
    for folder in (BASE, RELEASE):
        tensors = load_file(folder / TWO)
        tensors["norm"][2] = math.nan
        save_file(tensors, folder / TWO, {"format": "pt"})
    assert differing(compared()) == {}
    change_numbers("norm", flip(0, 2))
    assert differing(compared()).keys() == {"norm"}


def test_whole_numbers_are_compared_as_bytes() -> None:
    change_numbers("counts", lambda numbers: numbers[1].fill_(0x0201))
    one = compared().tensors["counts"]
    assert (one.numbers, one.differing, one.rounded, one.largest) == (40, 1, 0, 2)


def test_an_edit_that_is_not_declared() -> None:
    one = compared({name: change for name, change in CHANGES.items() if name != "0.weight"}).tensors["0.weight"]
    assert (one.declared, one.equals_base) == (False, False)
    assert one.differing > 30


def test_a_declared_edit_that_was_not_made() -> None:
    change_numbers("0.weight", lambda numbers: numbers.copy_(TENSORS[ONE]["0.weight"].view(-1)))
    one = compared().tensors["0.weight"]
    assert (one.declared, one.equals_base) == (True, True)
    assert one.differing > 30


def test_another_strength_or_direction_is_not_a_rounding() -> None:
    for other in (CHANGES["1.weight"]._replace(strength=0.71), CHANGES["1.weight"]._replace(direction=V.flip(0))):
        found = differing(compared({**CHANGES, "1.weight": other}))
        assert found.keys() == {"1.weight"}
        assert found["1.weight"].differing - found["1.weight"].rounded > 10


def test_a_missing_shard() -> None:
    (RELEASE / ONE).unlink()
    found = compared()
    assert found.headers == [f"{ONE} is missing"]
    assert found.tensors.keys() == TENSORS[TWO].keys()
    assert differing(found) == {}
    assert found.release_sums.keys() == {TWO}
    assert found.base_sums.keys() == {ONE, TWO}


def test_an_added_shard() -> None:
    write(RELEASE, {**released(), "model-00003.safetensors": {"more": torch.ones(2), "norm": torch.ones(8)}})
    found = compared()
    assert found.headers == [
        "model-00003.safetensors is not a shard of the base",
        "norm is in model-00002-of-00002.safetensors and in model-00003.safetensors",
        "more in model-00003.safetensors is not in the base",
    ]
    assert found.release_sums["model-00003.safetensors"] == sha256_of(RELEASE / "model-00003.safetensors")
    assert differing(found) == {}


def test_a_renamed_shard_is_still_compared() -> None:
    shards = released()
    (RELEASE / ONE).unlink()
    shards["other.safetensors"] = shards.pop(ONE)
    write(RELEASE, shards)
    found = compared()
    assert found.headers[:2] == [f"{ONE} is missing", "other.safetensors is not a shard of the base"]
    assert f"embedding is in other.safetensors, the base's in {ONE}" in found.headers
    assert found.tensors.keys() == compared_names()
    assert differing(found) == {}
    change_numbers("embedding", flip(3))
    assert differing(compared()).keys() == {"embedding"}


def compared_names() -> set[str]:
    return {name for shard in TENSORS.values() for name in shard}


def test_one_file_instead_of_shards() -> None:
    save_file({name: t for shard in released().values() for name, t in shard.items()}, RELEASE / SINGLE_FILE)
    found = compared()
    assert found.tensors.keys() == compared_names()
    assert differing(found) == {}
    assert f"{SINGLE_FILE} is not a shard of the base" in found.headers
    assert found.release_sums[SINGLE_FILE] == sha256_of(RELEASE / SINGLE_FILE)


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_truncated_shard(left: int) -> None:
    (RELEASE / ONE).write_bytes((RELEASE / ONE).read_bytes()[:left])
    found = compared()
    (line,) = found.headers
    assert ONE in line
    assert "truncated" in line or "damaged" in line or "declares" in line
    assert found.tensors.keys() == TENSORS[TWO].keys()
    assert found.release_sums[ONE] == sha256_of(RELEASE / ONE)


def rewrite_header(file: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    """Change the header of a safetensors file, padded to its old length if it is shorter; the data stays."""
    raw = file.read_bytes()
    stop = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:stop])
    change(header)
    written = json.dumps(header, separators=(",", ":")).encode().ljust(stop - 8)
    file.write_bytes(len(written).to_bytes(8, "little") + written + raw[stop:])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"shape": [5, 8]}, r"0.weight has shape [5, 8], the base's [8, 5]"),
        ({"dtype": "F16"}, "0.weight is stored as F16, the base's as BF16"),
        ({"shape": [2**40, 2**40]}, "damaged safetensors header"),
        ({"data_offsets": [0, 2**50]}, "damaged safetensors header"),
    ],
)
def test_a_changed_header_entry(entry: dict[str, object], message: str) -> None:
    rewrite_header(RELEASE / ONE, lambda header: header["0.weight"].update(entry))
    found = compared()
    assert any(message in line for line in found.headers)
    assert "0.weight" not in found.tensors
    assert "1.weight" in found.tensors
    assert found.release_sums[ONE] == sha256_of(RELEASE / ONE)


def test_other_metadata_in_a_header() -> None:
    rewrite_header(RELEASE / TWO, lambda header: header["__metadata__"].update(format="tf"))
    found = compared()
    assert found.headers == [f"the header of {TWO} has other metadata than the base's, or is formatted differently"]
    assert differing(found) == {}


def test_another_name_for_a_tensor() -> None:
    rewrite_header(RELEASE / TWO, lambda header: header.update(other=header.pop("norm")))
    assert compared().headers[:2] == [f"norm is missing in {TWO}", f"other in {TWO} is not in the base"]


def test_tensors_in_another_order() -> None:
    shard = RELEASE / ONE
    raw, tensors = shard.read_bytes(), load_file(shard)
    stop = 8 + int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8:stop]), b""
    for name in sorted(tensors, key=lambda name: -header[name]["data_offsets"][0]):
        own = tensors[name].view(torch.uint8).numpy().tobytes()
        header[name]["data_offsets"] = [len(data), len(data) + len(own)]
        data += own
    written = json.dumps(header).encode()
    shard.write_bytes(len(written).to_bytes(8, "little") + written + data)
    found = compared()
    assert len(found.headers) == 1
    assert f"{ONE} holds 3 tensors at other offsets than the base" in found.headers[0]
    assert found.tensors.keys() == compared_names()
    assert differing(found) == {}
    assert found.release_sums[ONE] == sha256_of(shard)


@pytest.mark.parametrize("index", ["{", '{"weight_map": {"a": "../b"}}', '{"weight_map": {}}'])
def test_a_damaged_index_is_reported(index: str) -> None:
    (RELEASE / INDEX_FILE).write_text(index)
    found = compared()
    assert found.headers
    assert differing(found) == {}


def test_an_index_that_names_another_shard_is_reported() -> None:
    index = json.loads((RELEASE / INDEX_FILE).read_text())
    index["weight_map"]["norm"] = ONE
    (RELEASE / INDEX_FILE).write_text(json.dumps(index))
    (line,) = compared().headers
    assert f"says that {ONE} holds norm" in line


def test_a_damaged_base_is_refused() -> None:
    (BASE / TWO).write_bytes(b"")
    with pytest.raises(UnwriteError, match="not a safetensors file, or truncated"):
        compared()
