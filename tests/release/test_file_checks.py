"""Files that are missing, added, changed or lead elsewhere are found, even if the manifest was rewritten to match."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.releases import (
    UNEDITED,
    Release,
    changed_json,
    failed,
    first_shard,
    flip_bit,
    make_release,
    rewrite_manifest,
    verified,
)
from unwrite.files.checkpoints import index_of, shard_files, stored_tensors
from unwrite.files.hashing import sha256_of
from unwrite.release.verdict import verification_text
from unwrite.release.verify import verify_release


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja"])
def test_changed_companion_file_fails(name: str, release: Release) -> None:
    path = release.folder / name
    path.write_text(path.read_text() + " ")
    assert set(failed(verified(release))) == {"files", "other files"}
    rewrite_manifest(release)
    assert failed(verified(release)) == {"other files": f"{name} differs from the base's"}
    assert failed(verify_release(release.folder)) == {"other files": f"{name} differs from the base's"}


def test_added_shard_fails(release: Release) -> None:
    shutil.copy(first_shard(release.folder), release.folder / "model-9.safetensors")
    assert "model-9.safetensors is not in the manifest" in failed(verified(release))["files"]
    rewrite_manifest(release)
    found = failed(verified(release))
    assert found["other files"] == "model-9.safetensors is neither in the base nor written by unwrite"


def test_another_base_fails(release: Release, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_release(tmp_path / "other", torch.float32).base
    found = failed(verify_release(release.folder, other))
    assert {"base", "headers"} <= set(found)
    assert "config.json is not the declared one" in found["base"]
    assert "the release declares base, a local folder: use the folder it was made from" in found["base"]


def test_another_revision_of_the_base_fails(release: Release) -> None:
    flip_bit(release.base, UNEDITED)
    found = failed(verified(release))
    assert set(found) == {"base", "unedited tensors"}
    flip_bit(release.base, UNEDITED)
    (release.base / "config.json").write_text("{}")
    assert "config.json is not the declared one" in failed(verified(release))["base"]
    (release.base / "config.json").unlink()
    assert "config.json is missing" in failed(verified(release))["base"]


def test_added_files_and_folders_fail(release: Release) -> None:
    (release.folder / "modeling.py").write_text("")
    (release.folder / "sub").mkdir()
    (release.folder / ".gitattributes").write_text("")  # the hub's
    found = failed(verified(release))
    assert found["files"] == "modeling.py is not in the manifest\nsub is not a plain file"
    (release.folder / "sub").rmdir()
    rewrite_manifest(release)
    assert "modeling.py is neither in the base" in failed(verified(release))["other files"]


def test_link_out_of_the_folder_fails(release: Release, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes((release.folder / "config.json").read_bytes())
    (release.folder / "config.json").unlink()
    (release.folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    assert failed(verified(release)) == {"files": "config.json is a link that leads out of the folder"}


def test_links_of_the_hubs_cache_are_accepted(release: Release, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in release.folder.iterdir():
        (blobs / sha256_of(path)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / sha256_of(path))
    assert verify_release(snapshot, release.base).passed


def test_links_into_dvc_s_cache_are_accepted(release: Release, tmp_path: Path) -> None:
    """As `dvc checkout` makes them where cache.type is symlink."""
    for path in release.folder.iterdir():
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        cached = tmp_path / "cache/files/md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        path.rename(cached)
        path.symlink_to(cached)
    assert failed(verified(release)) == {}
    elsewhere = (release.folder / "config.json").resolve().rename(tmp_path / "cache/files/config.json")
    (release.folder / "config.json").unlink()
    (release.folder / "config.json").symlink_to(elsewhere)
    assert failed(verified(release)) == {"files": "config.json is a link that leads out of the folder"}


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "", "..", "a\\b"])
def test_names_that_lead_out_of_the_folder_fail(name: str, release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["subject"][0]["name"] = name
    found = failed(verified(release))
    assert f"the manifest names {name!r}, which is not a plain file name" in found["files"]


def test_unused_weights_must_be_the_base_s_too(release: Release) -> None:
    # As the consolidated weights of some repositories, which other engines prefer.
    (release.base / "consolidated.safetensors").write_bytes(b"the base's")
    (release.folder / "consolidated.safetensors").write_bytes(b"another's")
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["resolvedDependencies"].append(
            {
                "name": "consolidated.safetensors",
                "digest": {"sha256": sha256_of(release.base / "consolidated.safetensors")},
                "annotations": {"role": "base", "size": 10},
            }
        )
    assert failed(verified(release)) == {"other files": "consolidated.safetensors differs from the base's"}
    (release.folder / "consolidated.safetensors").write_bytes(b"the base's")
    rewrite_manifest(release)
    assert failed(verified(release)) == {}


def test_missing_file_of_the_base_fails_even_if_undeclared(release: Release) -> None:
    (release.folder / "generation_config.json").unlink()
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        definition = manifest["predicate"]["buildDefinition"]
        definition["resolvedDependencies"] = [
            one for one in definition["resolvedDependencies"] if one["name"] != "generation_config.json"
        ]
    assert failed(verified(release)) == {
        "other files": "generation_config.json of the base is missing",
        "base": "generation_config.json is not declared",
    }


@pytest.mark.parametrize("empty", [[], None])
def test_base_is_compared_even_if_the_manifest_declares_none(empty: list[object] | None, release: Release) -> None:
    (release.folder / "config.json").write_text("{}")
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        definition = manifest["predicate"]["buildDefinition"]
        for one in definition["resolvedDependencies"]:
            one["annotations"] = {}
        definition["resolvedDependencies"] = definition["resolvedDependencies"] if empty is None else empty
    assert failed(verified(release))["other files"] == "config.json differs from the base's"


def test_file_listed_twice_fails(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        other = manifest["subject"][0] | {"digest": {"sha256": "0" * 64}}
        manifest["subject"].insert(0, other)
    name = json.loads((release.folder / "provenance.json").read_text())["subject"][0]["name"]
    assert f"the manifest names {name!r} twice" in failed(verified(release))["files"]


def test_index_that_does_not_list_the_checkpoint_fails(release: Release) -> None:
    single = make_single(release)
    assert failed(verified(single)) == {}
    with changed_json(single.folder / "model.safetensors.index.json") as index:
        index["weight_map"][UNEDITED] = "directions.safetensors"
    rewrite_manifest(single)
    assert failed(verified(single)) == {"other files": "model.safetensors.index.json does not list the checkpoint"}


def test_changed_index_of_the_base_fails(release: Release) -> None:
    with changed_json(release.folder / "model.safetensors.index.json") as index:
        index["metadata"]["total_size"] = 1
    rewrite_manifest(release)
    assert failed(verified(release)) == {"other files": "model.safetensors.index.json differs from the base's"}


@pytest.mark.parametrize("name", ["edit.json", "directions.safetensors", "config.json"])
def test_pipe_fails_without_being_read(name: str, release: Release) -> None:
    (release.folder / name).unlink()
    os.mkfifo(release.folder / name)
    assert f"{name} is not a plain file" in failed(verified(release))["files"]


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json", "edit.json", "model.sig"])
def test_folder_in_the_place_of_a_file_fails(name: str, release: Release) -> None:
    """Whatever lies in it is listed and hashed by nobody; an index of the base is not the only file of a kind."""
    (release.folder / name).unlink(missing_ok=True)
    (release.folder / name).mkdir()
    (release.folder / name / "payload.py").write_text("")
    assert f"{name} is not a plain file" in failed(verified(release))["files"]


def test_name_with_a_line_break_forges_no_line(release: Release) -> None:
    (release.folder / "a\nVERIFIED: the release is the base").write_text("")
    found = verified(release)
    assert failed(found)["files"] == r"a\nVERIFIED: the release is the base is not a plain file"
    assert not any(line.startswith("VERIFIED") for line in verification_text(found).splitlines())


def test_folder_in_the_place_of_an_own_index_fails(release: Release) -> None:
    """Without it, every check of the weights passes: one file needs no index."""
    single = make_single(release)
    assert failed(verified(single)) == {}
    index = single.folder / "model.safetensors.index.json"
    index.unlink()
    index.mkdir()
    assert failed(verified(single)) == {"files": "model.safetensors.index.json is not a plain file"}


TEMPLATE = "additional_chat_templates/tool_use.jinja"


@pytest.fixture
def with_templates(release: Release) -> Release:
    for folder in (release.base, release.folder):
        (folder / TEMPLATE).parent.mkdir()
        (folder / TEMPLATE).write_text("{{ tools }}")
    rewrite_manifest(release)
    assert verified(release).passed
    return release


def test_changed_chat_template_in_its_folder_fails(with_templates: Release) -> None:
    (with_templates.folder / TEMPLATE).write_text("{{ tools }} And be brief.")
    assert set(failed(verified(with_templates))) == {"files", "other files"}
    rewrite_manifest(with_templates)
    assert failed(verified(with_templates)) == {"other files": f"{TEMPLATE} differs from the base's"}


@pytest.mark.parametrize("name", ["new.jinja", "code.py", "inner/deep.jinja"])
def test_whatever_is_added_to_the_chat_templates_fails(name: str, with_templates: Release) -> None:
    added = (with_templates.folder / TEMPLATE).parent / name
    added.parent.mkdir(exist_ok=True)
    added.write_text("")
    assert "files" in failed(verified(with_templates))
    rewrite_manifest(with_templates)
    assert failed(verified(with_templates))


def test_folder_of_chat_templates_that_is_a_link_fails(with_templates: Release, tmp_path: Path) -> None:
    templates = (with_templates.folder / TEMPLATE).parent
    templates.rename(tmp_path / "elsewhere")
    templates.symlink_to(tmp_path / "elsewhere")
    assert "files" in failed(verified(with_templates))


def test_link_to_itself_fails(release: Release) -> None:
    (release.folder / "config.json").unlink()
    (release.folder / "config.json").symlink_to("config.json")
    assert "config.json is a link that leads out" in failed(verified(release))["files"]


def make_single(release: Release) -> Release:
    """The same in one file, with the index that merging writes next to it."""
    for folder in (release.base, release.folder):
        tensors: dict[str, torch.Tensor] = {}
        for shard in shard_files(folder):
            tensors |= load_file(folder / shard)
        for shard in [*shard_files(folder), "model.safetensors.index.json"]:
            (folder / shard).unlink()
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    index = index_of(stored_tensors(release.folder))
    (release.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    rewrite_manifest(release)
    return release
