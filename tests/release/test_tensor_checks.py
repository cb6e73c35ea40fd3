"""A weight that is neither the base's nor the declared edit is found, even if the manifest was rewritten to match."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.releases import (
    EDITED,
    UNEDITED,
    Release,
    change_tensor,
    failed,
    first_shard,
    flip_bit,
    rewrite_manifest,
    verified,
)
from unwrite.files.checkpoints import stored_tensors
from unwrite.release.verdict import verification_text
from unwrite.schema.artifacts import as_json


def test_one_flipped_bit_in_an_unedited_tensor_fails(release: Release) -> None:
    flip_bit(release.folder, UNEDITED, 5)
    found = failed(verified(release))
    assert set(found) == {"files", "unedited tensors"}
    assert stored_tensors(release.folder)[UNEDITED].file.name in found["files"]
    assert f"{UNEDITED} differs from the base: 1 of 1,024 values" in found["unedited tensors"]
    rewrite_manifest(release)
    assert set(failed(verified(release))) == {"unedited tensors"}


def test_another_bit_in_every_value_of_an_edited_tensor_fails(release: Release) -> None:
    change_tensor(release.folder, EDITED, lambda w: w.view(torch.int16).bitwise_xor(1 << 9).view(w.dtype))
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"edited tensors"}
    assert f"{EDITED} differs from the declared edit: 1,024 of 1,024 values" in found["edited tensors"]


def test_one_rounding_is_counted_and_two_units_in_the_last_place_fail(release: Release) -> None:
    flip_bit(release.folder, EDITED, 7)
    found = verified(release)
    assert set(failed(found)) == {"files"}  # another processor would have listed its own sums
    rewrite_manifest(release)
    found = verified(release)
    assert found.passed
    assert found.rounded_numbers == 1
    text = verification_text(found)
    assert f"{EDITED}: 1 value differs by one unit in the last place" in text
    assert text.splitlines()[-2].endswith("and nothing more; 1 value differs by one unit in the last place.")
    change_tensor(release.folder, EDITED, lambda w: torch.cat([(w[:1].view(torch.int16) + 2).view(w.dtype), w[1:]]))
    rewrite_manifest(release)
    assert set(failed(verified(release))) == {"edited tensors"}


def test_changed_header_fails(release: Release) -> None:
    shard = first_shard(release.folder)
    data = shard.read_bytes()
    assert b'"pt"' in data
    shard.write_bytes(data.replace(b'"pt"', b'"pu"', 1))
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"headers"}
    assert shard.name in found["headers"]


def test_swapped_directions_fail(release: Release) -> None:
    path = release.folder / "directions.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"directions": tensors["directions"].flip(1)}, path)
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"directions", "edited tensors"}
    assert len(found["edited tensors"].splitlines()) == 4


def test_undeclared_edit_fails(release: Release) -> None:
    edits = release.recipe.edits[1:]
    recipe = release.recipe.model_copy(update={"edits": edits})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    rewrite_manifest(release, recipe)
    found = failed(verified(release))
    assert set(found) == {"residual writers", "unedited tensors"}
    assert f"{EDITED} differs from the base" in found["unedited tensors"]


def test_tensor_declared_as_edited_but_unchanged_fails(release: Release) -> None:
    original = load_file(stored_tensors(release.base)[EDITED].file)[EDITED]
    change_tensor(release.folder, EDITED, lambda _: original)
    rewrite_manifest(release)
    assert failed(verified(release)) == {"edited tensors": f"{EDITED} is declared as edited, but equals the base's"}


def test_missing_shard_fails(release: Release) -> None:
    shard = first_shard(release.folder)
    shard.unlink()
    found = failed(verified(release))
    assert f"{shard.name} is missing" in found["files"]
    assert shard.name in found["headers"]


@pytest.mark.parametrize("left", [4, 200, -1])
def test_truncated_shard_fails(left: int, release: Release) -> None:
    shard = first_shard(release.folder)
    shard.write_bytes(shard.read_bytes()[:left])
    found = failed(verified(release))
    assert shard.name in found["files"]
    assert shard.name in found["headers"]
    assert shard.name in found["manifest"]


def test_tensors_in_another_layout_fail(release: Release) -> None:
    shard = first_shard(release.folder)
    tensors = load_file(shard)
    # A new layout of the same tensors: the widest type comes first.
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].float()}, shard, {"format": "pt"})
    found = failed(verified(release))
    assert shard.name in found["headers"] or name in found["headers"]
    assert "files" in found


def test_one_unit_in_the_last_place_everywhere_fails(release: Release) -> None:
    change_tensor(release.folder, EDITED, lambda w: (w.view(torch.int16) ^ 1).view(w.dtype))
    rewrite_manifest(release)
    assert "1,024 of 1,024 values" in failed(verified(release))["edited tensors"]
