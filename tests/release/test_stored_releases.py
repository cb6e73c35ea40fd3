"""Every release that was ever stored still verifies, to the bit, and one flipped byte in it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.releases import failed
from tests.support.stored_releases import BASES, MODES, StoredRelease, copy_release, stored_releases
from unwrite.files.checkpoints import stored_tensors
from unwrite.release.manifest import read_manifest
from unwrite.release.verdict import verdict
from unwrite.release.verify import verify_release

RELEASES = list(stored_releases())
every_release = pytest.mark.parametrize("stored", RELEASES, ids="-".join)


def flip_byte(folder: Path, name: str, place: int) -> None:
    """Flips every bit of one byte of a stored tensor."""
    tensor = stored_tensors(folder)[name]
    with tensor.file.open("r+b") as stream:
        stream.seek(tensor.offset + place)
        (byte,) = stream.read(1)
        stream.seek(tensor.offset + place)
        stream.write(bytes([byte ^ 0xFF]))


@every_release
def test_stored_release_verifies_to_the_bit(stored: StoredRelease, tmp_path: Path) -> None:
    release, base = copy_release(stored, tmp_path)
    found = verify_release(release, base)
    assert failed(found) == {}
    assert verdict(found) == "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more."
    assert found.tensors is not None
    assert found.tensors.exact == found.tensors.all > found.tensors.declared > 0


@every_release
@pytest.mark.parametrize("edited", [True, False], ids=["edited", "unedited"])
def test_one_flipped_byte_of_a_stored_release_is_found(stored: StoredRelease, edited: bool, tmp_path: Path) -> None:
    release, base = copy_release(stored, tmp_path)
    tensors = read_manifest(release).internal.tensors
    flip_byte(release, next(name for name, edit in tensors.items() if (edit is not None) is edited), place=1)
    found = verify_release(release, base)
    assert verdict(found).startswith("NOT VERIFIED: ")
    assert set(failed(found)) == {"files", "edited tensors" if edited else "unedited tensors"}


def test_every_kind_of_base_and_every_norm_mode_is_stored() -> None:
    assert {(one.kind, one.mode) for one in RELEASES} >= {(kind, mode) for kind in BASES for mode in MODES}


@pytest.mark.parametrize(
    ("kind", "has"),
    [("dense", set()), ("experts", {"experts"}), ("bias", {"bias"}), ("post_norm", {"norms"})],
)
def test_stored_edits_are_what_their_kind_says(kind: str, has: set[str], tmp_path: Path) -> None:
    for stored in (one for one in RELEASES if one.kind == kind):
        release, _ = copy_release(stored, tmp_path / stored.mode)
        edits = {n: edit for n, edit in read_manifest(release).internal.tensors.items() if edit is not None}
        found = {
            "experts": any(".experts." in name for name in edits),
            "bias": any(name.endswith(".bias") for name in edits),
            "norms": any(edit.norms for edit in edits.values()),
        }
        assert {name for name, true in found.items() if true} == has
        assert {edit.direction.orthogonalize_to for edit in edits.values()} == {1, 2}
        assert {edit.direction.index for edit in edits.values()} == {1.25}
