"""Merged files: the base's bytes with the changes, their digests, and a base that changed reported first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.edited import overwrite
from unwrite.editing.changes import TensorChange
from unwrite.editing.merging import base_errors_first, merge_files
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.threads import map_in_threads
from unwrite.schema.artifacts import FileDigest, StoredLayout

V = torch.nn.functional.normalize(torch.arange(1.0, 9).double(), dim=0)
CHANGE = TensorChange(StoredLayout(tensor="w", axis=0, num_matrices=1), 0.8, V, "rows", bias=False)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    tensors = {"a": torch.ones(3), "w": torch.randn(8, 5, generator=generator), "z": torch.ones(5)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def pinned(base: Path) -> list[FileDigest]:
    return [digest_of(path) for path in sorted(base.iterdir())]


@pytest.mark.parametrize("threads", [1, 2])
def test_files_are_the_bases_with_the_changes_and_described_by_their_digests(base: Path, threads: int) -> None:
    merged = base.with_name("merged")
    merged.mkdir()
    advanced: list[int] = []
    written = merge_files(
        base,
        merged,
        pinned(base),
        stored_tensors(base),
        {"w": CHANGE},
        advance=advanced.append,
        map_files=map_in_threads(threads),
    )
    files = [file.digest for file in written]
    before = (base / "model.safetensors").read_bytes()
    overwrite(stored_tensors(base)["w"], CHANGE)
    assert (merged / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes() != before
    assert (merged / "config.json").read_text() == "{}"
    assert files == [digest_of(merged / name) for name in ("model.safetensors", "config.json")]
    assert advanced == [1]
    assert [[size.tensor for size in file.sizes] for file in written] == [["w"], []]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_the_pinned_one_is_refused(base: Path, name: str) -> None:
    files = pinned(base)
    merged = base.with_name("merged")
    merged.mkdir()
    content = (base / name).read_bytes()
    (base / name).write_bytes(content[:-1] + b"!")
    with pytest.raises(UnwriteError, match=rf"{name} has sha256"):
        merge_files(
            base,
            merged,
            files,
            stored_tensors(base),
            {"w": CHANGE},
            advance=lambda _: None,
            map_files=map_in_threads(1),
        )


def test_a_changed_base_is_reported_instead_of_the_error_that_follows_from_it(base: Path) -> None:
    files = pinned(base)

    def fail() -> None:
        with base_errors_first(base, files):
            raise UnwriteError("the kettle is cold")

    with pytest.raises(UnwriteError, match="the kettle is cold"):
        fail()
    (base / "config.json").write_text("[]")
    with pytest.raises(UnwriteError, match=r"config\.json has sha256"):
        fail()
