"""An honest release passes; whatever is done to one is found and named, also where the manifest was made to match."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.releases import Release, change_tensor, changed_json, flip_bit, make_release, rewrite_manifest
from tests.support.samples import sample_settings
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import index_of, shard_files, stored_tensors
from unwrite.files.hashing import sha256_of
from unwrite.release.verify import Verification, verification_text, verify_release
from unwrite.schema.artifacts import as_json

EDITED, UNEDITED = "model.layers.0.self_attn.o_proj.weight", "model.layers.0.self_attn.q_proj.weight"


def failed(verification: Verification) -> dict[str, str]:
    """The checks that failed, with what they say."""
    return {check.name: "\n".join(check.details) for check in verification.checks if check.outcome == "failed"}


def verified(release: Release) -> Verification:
    return verify_release(release.folder, release.base)


def first_shard(folder: Path) -> Path:
    return folder / shard_files(folder)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_honest_release_passes(dtype: torch.dtype, threads: int, tmp_path: Path) -> None:
    release = make_release(tmp_path, dtype)
    found = verify_release(release.folder, release.base, threads=threads)
    assert failed(found) == {}
    assert (found.passed, found.complete, found.rounded_numbers) == (True, True, 0)
    assert found.tensors is not None
    assert (found.tensors.all, found.tensors.declared, found.tensors.exact) == (30, 4, 30)
    verdict = "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more."
    assert verification_text(found).splitlines()[-1] == verdict


def test_without_the_base_it_says_what_it_did_not_check(release: Release) -> None:
    found = verify_release(release.folder)
    assert (found.passed, found.complete, found.tensors) == (True, False, None)
    unchecked = {check.name for check in found.checks if check.outcome == "not checked"}
    assert unchecked == {"base", "headers", "unedited tensors", "edited tensors", "signature"}
    assert "not everything was checked: give the base model with --base" in verification_text(found)


def test_what_it_found_is_json_too(release: Release) -> None:
    flip_bit(release.folder, UNEDITED)
    values = json.loads(verified(release).model_dump_json())
    assert values["passed"] is False
    assert {check["name"]: check["outcome"] for check in values["checks"]}["unedited tensors"] == "failed"
    assert Verification.model_validate(values) == verified(release)


def test_one_flipped_bit_in_an_unedited_tensor(release: Release) -> None:
    flip_bit(release.folder, UNEDITED, 5)
    found = failed(verified(release))
    assert set(found) == {"files", "unedited tensors"}
    assert stored_tensors(release.folder)[UNEDITED].file.name in found["files"]
    assert f"{UNEDITED} is not the base: 1 of 1,024 numbers differ" in found["unedited tensors"]
    rewrite_manifest(release)
    assert set(failed(verified(release))) == {"unedited tensors"}


def test_one_flipped_bit_in_an_edited_tensor(release: Release) -> None:
    change_tensor(release.folder, EDITED, lambda w: w.view(torch.int16).bitwise_xor(1 << 9).view(w.dtype))
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"edited tensors"}
    assert f"{EDITED} is not the declared edit: 1,024 of 1,024 numbers differ" in found["edited tensors"]


def test_a_rounding_is_counted_and_named_and_two_are_too_many(release: Release) -> None:
    flip_bit(release.folder, EDITED, 7)
    found = verified(release)
    assert set(failed(found)) == {"files"}  # whoever rounds otherwise has a manifest that says so
    rewrite_manifest(release)
    found = verified(release)
    assert found.passed
    assert found.rounded_numbers == 1
    text = verification_text(found)
    assert f"{EDITED}: 1 numbers one rounding beside" in text
    assert "1 numbers of it one rounding beside" in text
    change_tensor(release.folder, EDITED, lambda w: torch.cat([(w[:1].view(torch.int16) + 2).view(w.dtype), w[1:]]))
    rewrite_manifest(release)
    assert set(failed(verified(release))) == {"edited tensors"}


def test_a_changed_header(release: Release) -> None:
    shard = first_shard(release.folder)
    data = shard.read_bytes()
    assert b'"pt"' in data
    shard.write_bytes(data.replace(b'"pt"', b'"pu"', 1))
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"headers"}
    assert shard.name in found["headers"]


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_changed_companion(name: str, release: Release) -> None:
    path = release.folder / name
    path.write_text(path.read_text() + " ")
    assert set(failed(verified(release))) == {"files", "companions"}
    rewrite_manifest(release)
    assert failed(verified(release)) == {"companions": f"{name} is not the base's"}
    assert failed(verify_release(release.folder)) == {"companions": f"{name} is not the base's"}


def test_another_weight_in_the_recipe(release: Release) -> None:
    with changed_json(release.folder / "edit.json") as recipe:
        recipe["edits"][0]["strength"] = 0.9
    found = failed(verified(release))
    assert set(found) == {"files", "recipe", "manifest", "edited tensors"}
    assert f"{EDITED} is declared with another edit" in found["manifest"]
    assert f"{EDITED} has strength 0.9, by the kernel of its trial 0.8" in found["recipe"]
    edit = release.recipe.edits[0].model_copy(update={"strength": 0.9})
    rewrite_manifest(release, release.recipe.model_copy(update={"edits": [edit, *release.recipe.edits[1:]]}))
    assert set(failed(verified(release))) == {"recipe", "edited tensors"}


def test_another_kind_of_norm_preservation(release: Release) -> None:
    recipe = release.recipe.model_copy(update={"settings": sample_settings(norm_preservation="none")})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    found = failed(verified(release))
    assert "norm_preservation is rows in the manifest, none in edit.json" in found["manifest"]
    rewrite_manifest(release, recipe)
    assert set(failed(verified(release))) == {"edited tensors"}


def test_directions_swapped(release: Release) -> None:
    path = release.folder / "directions.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"directions": tensors["directions"].flip(1)}, path)
    rewrite_manifest(release)
    found = failed(verified(release))
    assert set(found) == {"edited tensors"}
    assert len(found["edited tensors"].splitlines()) == 4


def test_a_tensor_edited_but_not_declared(release: Release) -> None:
    edits = release.recipe.edits[1:]
    recipe = release.recipe.model_copy(update={"edits": edits})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    rewrite_manifest(release, recipe)
    found = failed(verified(release))
    assert set(found) == {"unedited tensors"}
    assert f"{EDITED} is not the base" in found["unedited tensors"]


def test_a_tensor_declared_but_not_edited(release: Release) -> None:
    original = load_file(stored_tensors(release.base)[EDITED].file)[EDITED]
    change_tensor(release.folder, EDITED, lambda _: original)
    rewrite_manifest(release)
    assert failed(verified(release)) == {"edited tensors": f"{EDITED} is declared as edited, but it is the base's"}


def test_a_missing_shard(release: Release) -> None:
    shard = first_shard(release.folder)
    shard.unlink()
    found = failed(verified(release))
    assert f"{shard.name} is missing" in found["files"]
    assert shard.name in found["headers"]


def test_an_added_shard(release: Release) -> None:
    shutil.copy(first_shard(release.folder), release.folder / "model-9.safetensors")
    assert "model-9.safetensors is not in the manifest" in failed(verified(release))["files"]
    rewrite_manifest(release)
    found = failed(verified(release))
    assert found["companions"] == "model-9.safetensors is neither the base's nor one that unwrite writes"


@pytest.mark.parametrize("left", [4, 200, -1])
def test_a_truncated_shard(left: int, release: Release) -> None:
    shard = first_shard(release.folder)
    shard.write_bytes(shard.read_bytes()[:left])
    found = failed(verified(release))
    assert shard.name in found["files"]
    assert shard.name in found["headers"]
    assert shard.name in found["manifest"]


def test_tensors_in_another_order(release: Release) -> None:
    shard = first_shard(release.folder)
    tensors = load_file(shard)
    # A new layout of the same tensors: the widest type comes first.
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name].float()}, shard, {"format": "pt"})
    found = failed(verified(release))
    assert shard.name in found["headers"] or name in found["headers"]
    assert "files" in found


def test_another_base(release: Release, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = make_release(tmp_path / "other", torch.float32).base
    found = failed(verify_release(release.folder, other))
    assert {"base", "headers"} <= set(found)
    assert "config.json is another one" in found["base"]
    assert "the release declares base, a local folder: take the one it was made of" in found["base"]


def test_another_revision_of_the_base(release: Release) -> None:
    flip_bit(release.base, UNEDITED)
    found = failed(verified(release))
    assert set(found) == {"base", "unedited tensors"}
    flip_bit(release.base, UNEDITED)
    (release.base / "config.json").write_text("{}")
    assert "config.json is another one" in failed(verified(release))["base"]
    (release.base / "config.json").unlink()
    assert "config.json is not in it" in failed(verified(release))["base"]


def test_files_and_folders_that_should_not_be_there(release: Release) -> None:
    (release.folder / "modeling.py").write_text("")
    (release.folder / "sub").mkdir()
    (release.folder / ".gitattributes").write_text("")  # the hub's
    found = failed(verified(release))
    assert found["files"] == "modeling.py is not in the manifest\nsub is not a plain file"
    (release.folder / "sub").rmdir()
    rewrite_manifest(release)
    assert "modeling.py is neither the base's" in failed(verified(release))["companions"]


def test_a_link_out_of_the_folder(release: Release, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes((release.folder / "config.json").read_bytes())
    (release.folder / "config.json").unlink()
    (release.folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    assert failed(verified(release)) == {"files": "config.json is a link that leads out of the folder"}


def test_the_links_of_the_hubs_cache_are_its_files(release: Release, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in release.folder.iterdir():
        (blobs / sha256_of(path)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / sha256_of(path))
    assert verify_release(snapshot, release.base).passed


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "", "..", "a\\b"])
def test_names_that_lead_out_of_the_folder(name: str, release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["subject"][0]["name"] = name
    found = failed(verified(release))
    assert f"the manifest names {name!r}, which is not a plain file name" in found["files"]


def damaged_recipe(folder: Path) -> None:
    (folder / "edit.json").write_text("{}")


def damaged_directions(folder: Path) -> None:
    (folder / "directions.safetensors").write_bytes(b"x" * 20)


def no_directions(folder: Path) -> None:
    (folder / "directions.safetensors").unlink()


def no_such_direction(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["direction"]["index"] = 99.0


def no_such_position(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["direction"]["position"] = 7


def no_such_tensor(folder: Path) -> None:
    with changed_json(folder / "edit.json") as recipe:
        recipe["edits"][0]["matrix"]["stored"][0]["tensor"] = "nowhere"


def other_width(folder: Path) -> None:
    path = folder / "directions.safetensors"
    save_file({name: tensor[..., :16].contiguous() for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (damaged_recipe, "recipe", "edit.json is not a valid recipe"),
        (damaged_directions, "recipe", "directions.safetensors is damaged"),
        (no_directions, "recipe", "directions.safetensors is missing"),
        (no_such_direction, "edited tensors", "does not fit"),
        (no_such_position, "edited tensors", "does not fit"),
        (no_such_tensor, "edited tensors", "nowhere"),
        (other_width, "edited tensors", "does not fit"),
    ],
)
def test_a_recipe_that_can_not_be_followed(
    change: Callable[[Path], None], check: str, message: str, release: Release
) -> None:
    change(release.folder)
    found = verified(release)
    assert message in failed(found)[check]
    assert not found.passed
    assert "Traceback" not in verification_text(found)


def test_what_is_no_base_at_all(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="nowhere is not a folder"):
        verify_release(release.folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnwriteError, match="expected a safetensors checkpoint"):
        verify_release(release.folder, tmp_path / "empty")


def test_a_long_list_is_cut_for_people_only(release: Release) -> None:
    for number in range(30):
        (release.folder / f"extra{number:02}").write_text("")
    found = verified(release)
    assert len(failed(found)["files"].splitlines()) == 30
    text = verification_text(found)
    assert "extra19" in text
    assert "extra20" not in text
    assert "and 10 more" in text


# What an auditor found who was asked to have a lie verified.


def test_weights_that_the_checkpoint_does_not_use_are_the_base_s_too(release: Release) -> None:
    # As the consolidated weights of some repositories, which other engines prefer.
    (release.base / "consolidated.safetensors").write_bytes(b"the base's")
    (release.folder / "consolidated.safetensors").write_bytes(b"another's")
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["resolvedDependencies"].append(
            {
                "name": "consolidated.safetensors",
                "digest": {"sha256": sha256_of(release.base / "consolidated.safetensors")},
                "annotations": {"role": "base"},
            }
        )
    assert failed(verified(release)) == {"companions": "consolidated.safetensors is not the base's"}
    (release.folder / "consolidated.safetensors").write_bytes(b"the base's")
    rewrite_manifest(release)
    assert failed(verified(release)) == {}


def test_what_the_base_has_and_nobody_mentions_is_missed(release: Release) -> None:
    (release.folder / "generation_config.json").unlink()
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        definition = manifest["predicate"]["buildDefinition"]
        definition["resolvedDependencies"] = [
            one for one in definition["resolvedDependencies"] if one["name"] != "generation_config.json"
        ]
    assert failed(verified(release)) == {"companions": "generation_config.json of the base is missing"}


@pytest.mark.parametrize("empty", [[], None])
def test_a_manifest_that_names_no_base(empty: list[object] | None, release: Release) -> None:
    (release.folder / "config.json").write_text("{}")
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        definition = manifest["predicate"]["buildDefinition"]
        for one in definition["resolvedDependencies"]:
            one["annotations"] = {}
        definition["resolvedDependencies"] = definition["resolvedDependencies"] if empty is None else empty
    assert failed(verified(release))["companions"] == "config.json is not the base's"


def test_directions_hold_directions_alone(release: Release) -> None:
    path = release.folder / "directions.safetensors"
    tensors = load_file(path)
    for others in (
        {UNEDITED: torch.zeros(32, 32)},
        {"directions": tensors["directions"][0]},
        {"baseline_mean": tensors["baseline_mean"][:, :2]},
        {name: tensor.long() for name, tensor in tensors.items()},
    ):
        save_file({name: tensor.contiguous() for name, tensor in (tensors | others).items()}, path)
        rewrite_manifest(release)
        assert "holds something else than" in failed(verified(release))["recipe"]


def test_a_rounding_everywhere_is_no_rounding(release: Release) -> None:
    change_tensor(release.folder, EDITED, lambda w: (w.view(torch.int16) ^ 1).view(w.dtype))
    rewrite_manifest(release)
    assert "1,024 of 1,024 numbers differ" in failed(verified(release))["edited tensors"]


def test_a_release_that_edits_nothing_is_none(release: Release) -> None:
    recipe = release.recipe.model_copy(update={"edits": []})
    (release.folder / "edit.json").write_text(json.dumps(as_json(recipe)))
    for shard in shard_files(release.base):
        shutil.copy(release.base / shard, release.folder)
    rewrite_manifest(release, recipe)
    assert failed(verified(release)) == {"recipe": "it edits nothing"}


def test_a_file_that_is_named_twice(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        other = manifest["subject"][0] | {"digest": {"sha256": "0" * 64}}
        manifest["subject"].insert(0, other)
    name = json.loads((release.folder / "provenance.json").read_text())["subject"][0]["name"]
    assert f"the manifest names {name!r} twice" in failed(verified(release))["files"]


def test_an_index_that_lists_something_else(release: Release) -> None:
    single = make_single(release)
    assert failed(verified(single)) == {}
    with changed_json(single.folder / "model.safetensors.index.json") as index:
        index["weight_map"][UNEDITED] = "directions.safetensors"
    rewrite_manifest(single)
    assert failed(verified(single)) == {"companions": "model.safetensors.index.json does not list the checkpoint"}


def test_an_index_of_shards_that_is_not_the_base_s(release: Release) -> None:
    with changed_json(release.folder / "model.safetensors.index.json") as index:
        index["metadata"]["total_size"] = 1
    rewrite_manifest(release)
    assert failed(verified(release)) == {"companions": "model.safetensors.index.json is not the base's"}


def test_figures_that_are_not_those_it_was_made_with(release: Release) -> None:
    (release.folder / "evaluation.json").write_text("{}")
    rewrite_manifest(release)
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["resolvedDependencies"].append(
            {"name": "artifacts/evaluation.json", "digest": {"sha256": "0" * 64}, "annotations": {"role": "artifact"}}
        )
    assert failed(verified(release)) == {"manifest": "evaluation.json is another one than that it was made with"}


def test_text_that_commands_a_terminal_is_written_out(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["externalParameters"]["base"]["source"] = "\x1b[8mhidden"
    (release.folder / "\udcff").write_text("a name that is not UTF-8")
    found = verified(release)
    text = verification_text(found)
    assert "\x1b" not in text
    assert "\\x1b[8mhidden" in text
    assert "\\udcff is not" in text
    assert json.loads(found.model_dump_json())["passed"] is False


@pytest.mark.parametrize("name", ["edit.json", "directions.safetensors", "config.json"])
def test_a_pipe_is_not_waited_for(name: str, release: Release) -> None:
    (release.folder / name).unlink()
    os.mkfifo(release.folder / name)
    assert f"{name} is not a plain file" in failed(verified(release))["files"]


def test_a_link_to_itself(release: Release) -> None:
    (release.folder / "config.json").unlink()
    (release.folder / "config.json").symlink_to("config.json")
    assert "config.json is a link that leads out" in failed(verified(release))["files"]


@pytest.mark.parametrize("change", ["norm", "position", "weight"])
def test_a_recipe_with_impossible_values(change: str, release: Release) -> None:
    with changed_json(release.folder / "edit.json") as recipe:
        edit = recipe["edits"][0]
        if change == "norm":
            edit["norms"] = [{"parameter": "x", "tensor": None, "offset": 0.0}]
        elif change == "position":
            edit["direction"]["position"] = 10**30
        else:
            edit["weight"] = float("nan")
    assert "edit.json is not a valid recipe (edits.0." in failed(verified(release))["recipe"]


def make_single(release: Release) -> Release:
    """The same in one file, with the index that merging writes beside it."""
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
