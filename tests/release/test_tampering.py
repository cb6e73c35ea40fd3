"""Every field of every record that travels with a release: if it changes, verifying fails or has named it unproven.

New fields are found here by themselves: the records are walked, not listed.
"""

from __future__ import annotations

import copy
import fnmatch
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.published import (
    Path_,
    at,
    changed,
    leaves,
    make_published,
    read_record,
    write_record,
)
from tests.support.releases import Release, failed, verified
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.release import verify
from unwrite.release.direction_checks import check_directions
from unwrite.release.figure_checks import check_figures
from unwrite.release.parameter_checks import check_parameters
from unwrite.release.recipe_checks import read_recipe
from unwrite.release.statement import Manifest
from unwrite.release.verify import Verification
from unwrite.release.writer_checks import FoundWriters, find_base_writers

MANIFEST = "provenance.json"
RECORDS = [MANIFEST, "edit.json", "evaluation.json", "params.yaml", "README.md"]


@pytest.fixture(autouse=True)
def same_base(published: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base never changes here, so its writers are found once."""
    found = _found(published.base)
    monkeypatch.setattr(verify, "find_base_writers", lambda _: found)


@cache
def _found(base: Path) -> FoundWriters | str:
    return find_base_writers(base)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_published(tmp_path_factory.mktemp("published"))


def list_again(folder: Path, name: str) -> None:
    """Makes the manifest agree with a file, as a forger would; with itself, it cannot."""
    if name == MANIFEST:
        return
    manifest, digest = read_record(folder / MANIFEST), digest_of(folder / name)
    definition = manifest["predicate"]["buildDefinition"]
    for one in (*manifest["subject"], *definition["resolvedDependencies"]):
        if one["name"].removeprefix("artifacts/") == name and one["annotations"].get("role", "artifact") == "artifact":
            one["digest"]["sha256"], one["annotations"]["size"] = digest.sha256, digest.size
    write_record(folder / MANIFEST, manifest)


def copied(published: Release, folder: Path) -> Release:
    shutil.copytree(published.folder, folder / "release")
    return Release(published.base, folder / "release", published.recipe)


def named_unproven(found: Verification, name: str, record: Any, place: Path_) -> bool:
    """Whether the result says that this field is not proven."""
    for one in found.unproven:
        if one.file != name:
            continue
        if not one.fields:
            return True
        path = dotted(place)
        role = record["predicate"]["buildDefinition"]["resolvedDependencies"] if name == MANIFEST else []
        for field in one.fields:
            listed = re.fullmatch(r"(.*)\[role=(\w+)\]", field)
            if listed is not None:
                inside = path.startswith(f"{listed[1]}.")
                if inside and at(role, (place[3],))["annotations"].get("role") == listed[2]:
                    return True
            elif fnmatch.fnmatch(path, field) or fnmatch.fnmatch(path, f"{field}.*"):
                return True
    return False


def tampered(
    published: Release, name: str, folder: Path, places: Iterable[Path_], change: Callable[[Any, Path_], None]
) -> Iterator[tuple[Path_, Verification | None]]:
    """Each place of a record, and the result of verifying with only it changed: None if the manifest is refused."""
    release, record = copied(published, folder), read_record(published.folder / name)
    for place in places:
        values = copy.deepcopy(record)
        change(values, place)
        write_record(release.folder / name, values)
        list_again(release.folder, name)
        found = None
        with suppress(UnwriteError):
            found = verified(release)
        yield place, found


def dotted(place: Path_) -> str:
    return ".".join(map(str, place))


def test_untouched_release_is_verified(published: Release) -> None:
    found = verified(published)
    assert failed(found) == {}
    assert (found.complete, found.unusual) == (True, [])
    assert {check.name: check.outcome for check in found.checks} | {"signature": "passed"} == {
        check.name: "passed" for check in found.checks
    }


def change_value(values: Any, place: Path_) -> None:
    at(values, place[:-1])[place[-1]] = changed(at(values, place))


@pytest.mark.parametrize("name", RECORDS)
def test_changed_field_fails_or_is_named_unproven(name: str, published: Release, tmp_path: Path) -> None:
    record = read_record(published.folder / name)
    places = list(leaves(record))
    assert len(places) > 10
    assert [
        dotted(place)
        for place, found in tampered(published, name, tmp_path, places, change_value)
        if found is not None and found.passed and not named_unproven(found, name, record, place)
    ] == []


def keys(values: Any, place: Path_ = ()) -> Iterator[Path_]:
    """The place of every key in a record; of a list, only those of its first entry, which the others are like."""
    items = values.items() if isinstance(values, dict) else enumerate(values[:1]) if isinstance(values, list) else ()
    for key, value in list(items):
        if isinstance(values, dict):
            yield (*place, key)
        yield from keys(value, (*place, key))


def remove_key(values: Any, place: Path_) -> None:
    del at(values, place[:-1])[place[-1]]


@pytest.mark.parametrize("name", RECORDS)
def test_removed_field_fails_or_is_unusual_or_named_unproven(name: str, published: Release, tmp_path: Path) -> None:
    record = read_record(published.folder / name)
    places = list(keys(record))
    assert len(places) > 10
    assert [
        dotted(place)
        for place, found in tampered(published, name, tmp_path, places, remove_key)
        if found is not None and found.passed and not found.unusual and not named_unproven(found, name, record, place)
    ] == []


def retyped(value: Any) -> Any:
    """Returns the value as another type, which a lenient reader takes for the same."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return bool(value) if value in {0, 1} else float(value)
    return str(value) if isinstance(value, float) else None


@pytest.mark.parametrize("name", [name for name in RECORDS if name.endswith(".json")])
def test_values_of_another_type_are_refused(name: str, published: Release, tmp_path: Path) -> None:
    release = copied(published, tmp_path)
    record = read_record(published.folder / name)
    for kind in (bool, int, float):
        values = read_record(published.folder / name)
        places = [place for place in leaves(record) if type(at(record, place)) is kind]
        for place in places:
            at(values, place[:-1])[place[-1]] = retyped(at(record, place))
        write_record(release.folder / name, values)
        list_again(release.folder, name)
        with nullcontext() if name != MANIFEST or not places else pytest.raises(UnwriteError, match="valid"):
            assert failed(verified(release)) or not places
        shutil.copy(published.folder / "provenance.json", release.folder)


def test_parameters_of_any_form_are_checked_to_the_end(published: Release, tmp_path: Path) -> None:
    folder = copied(published, tmp_path).folder
    (folder / "params.yaml").unlink()  # comparing it with the manifest reads no value
    recipe, _ = read_recipe(folder)
    manifest = read_record(folder / "provenance.json")
    declared = at(manifest, ("predicate", "buildDefinition", "externalParameters", "parameters"))
    places = {place[:length] for place in leaves(declared) for length in range(2, len(place) + 1)}
    for place in places:
        original = at(declared, place)
        for value in ("text", 7, [1, "a"], {"a": 1}, None):
            at(declared, place[:-1])[place[-1]] = value
            stated = Manifest.model_validate(manifest)
            checks = check_parameters(folder, stated, recipe), check_directions(folder, stated, recipe)
            assert all(check.outcome in {"passed", "failed"} for check in checks)
        if place[0] in {"tokenize", "score"}:  # what is compared with the figures
            assert check_figures(folder, stated).outcome in {"passed", "failed"}
        at(declared, place[:-1])[place[-1]] = original


def reordered(values: Any, place: Path_ = ()) -> Iterator[Path_]:
    """The place of every list and mapping in a record that has several entries, not all the same."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    pairs = list(items)
    if len(pairs) > 1 and (isinstance(values, dict) or values != values[::-1]):
        yield place
    for key, value in pairs:
        yield from reordered(value, (*place, key))


def reverse(values: Any, place: Path_) -> None:
    """Reverses the list at a place, or the order of the mapping's keys."""
    one = at(values, place)
    if isinstance(one, list):
        one.reverse()
        return
    pairs = list(one.items())
    one.clear()
    one.update(reversed(pairs))


def named_order(found: Verification, name: str, place: Path_) -> bool:
    """Whether the result says that this order is not checked."""
    orders = [field for one in found.unproven if one.file == name for field in one.fields]
    patterns = [field.removeprefix("order of ") for field in orders if field.startswith("order of ")]
    notes = [note for check in found.checks for note in check.notes if f"order of edits in {name}" in note]
    return any(fnmatch.fnmatch(dotted(place), pattern) for pattern in patterns) or bool(notes)


@pytest.mark.parametrize("name", [MANIFEST, "edit.json"])
def test_another_order_fails_or_is_unusual_or_named_unproven(name: str, published: Release, tmp_path: Path) -> None:
    record = read_record(published.folder / name)
    # The entries of a list are alike, so those after the second are left out.
    places = [p for p in reordered(record) if not any(isinstance(key, int) and key > 1 for key in p)]
    assert len(places) > 10
    unsaid = []
    for place, found in tampered(published, name, tmp_path, places, reverse):
        assert found is not None
        said = found.unusual or named_unproven(found, name, record, place) or named_order(found, name, place)
        if found.passed and not said:
            unsaid.append(dotted(place))
    assert unsaid == []


@pytest.mark.parametrize("name", [name for name in RECORDS if name.endswith(".json")])
@pytest.mark.parametrize(
    ("old", "new"), [("\n", "\n\n"), ("{", "{ \t"), ("}\n", "}"), ("\n}\n", "\n} \n"), ('"format', '"\\u0066ormat')]
)
def test_another_form_is_unusual(name: str, old: str, new: str, published: Release, tmp_path: Path) -> None:
    release = copied(published, tmp_path)
    text = (release.folder / name).read_text()
    if old not in text:
        assert name == MANIFEST  # its format is in buildType
        return
    (release.folder / name).write_text(new.join(text.rsplit(old, 1)))
    list_again(release.folder, name)
    found = verified(release)
    assert failed(found) == {}
    said = f"{name} is not written as unwrite writes it (white space, order of keys, or form of a value)"
    assert found.unusual == [said]


def test_what_is_unproven_is_not_everything(published: Release) -> None:
    found = verified(published)
    recipe = read_record(published.folder / "edit.json")
    proven = [place for place in leaves(recipe) if not named_unproven(found, "edit.json", recipe, place)]
    assert ("parameters", "direction_index") in proven
    assert ("edits", 0, "strength") in proven


def test_every_file_of_a_release_is_a_base_file_or_walked_or_named(published: Release) -> None:
    found = verified(published)
    ours = {path.name for path in published.folder.iterdir()} - {path.name for path in published.base.iterdir()}
    named = {one.file for one in found.unproven}
    assert ours == {*RECORDS, "directions.safetensors", "dvc.lock"} | ours & {"model.safetensors.index.json"}
    assert {"directions.safetensors", "dvc.lock"} <= named
