"""A sparse file of a terabyte is refused before anything is hashed, whatever the manifest says of it."""

from __future__ import annotations

import os

import pytest

from tests.support.releases import Release, changed_json, first_shard, verified
from unwrite.errors import UnwriteError
from unwrite.release import verify
from unwrite.release.sizes import refuse_oversized_files
from unwrite.release.verify import verify_release

TERABYTE = 1 << 40


@pytest.fixture(autouse=True)
def unhashed(monkeypatch: pytest.MonkeyPatch) -> None:
    def sums(*_: object) -> None:
        raise AssertionError("a file was hashed")

    monkeypatch.setattr(verify, "_sums", sums)
    monkeypatch.setattr(verify, "compare_with_base", sums)


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "config.json", "new.bin"])
def test_file_larger_than_listed_is_refused(name: str, release: Release) -> None:
    with (release.folder / name).open("ab") as file:
        file.truncate(TERABYTE)
    for base in (None, release.base):
        with pytest.raises(UnwriteError, match=rf"{name} has 1,099,511,627,776 bytes, but the manifest lists") as error:
            verify_release(release.folder, base)
        assert "\n" not in str(error.value)


def test_file_larger_than_the_whole_base_is_refused_even_if_listed(release: Release) -> None:
    shard = first_shard(release.folder)
    os.truncate(shard, TERABYTE)
    with changed_json(release.folder / "provenance.json") as manifest:
        for one in manifest["subject"]:
            if one["name"] == shard.name:
                one["annotations"]["size"] = TERABYTE
    with pytest.raises(UnwriteError, match="but the whole base has"):
        verified(release)


def test_companion_of_the_base_larger_than_declared_is_refused(release: Release) -> None:
    os.truncate(release.base / "config.json", TERABYTE)
    with pytest.raises(UnwriteError, match=r"base/config\.json has 1,099,"):
        verified(release)


def test_control_a_file_a_little_too_large_is_hashed(release: Release) -> None:
    os.truncate(release.folder / "config.json", 100_000)
    with pytest.raises(AssertionError, match="a file was hashed"):
        verified(release)


def test_manifest_without_sizes_is_left_to_the_checks(release: Release) -> None:
    from unwrite.release.manifest import read_manifest

    with changed_json(release.folder / "provenance.json") as manifest:
        for one in manifest["subject"]:
            one["annotations"] = {}
    refuse_oversized_files(release.folder, release.base, read_manifest(release.folder))
