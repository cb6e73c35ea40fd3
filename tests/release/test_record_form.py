"""Records are compared with the bytes that unwrite writes; damaged ones, and the base's own index, are left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.releases import Release
from unwrite.files.checkpoints import INDEX_FILE
from unwrite.files.records import json_text
from unwrite.release.manifest import read_manifest
from unwrite.release.record_form import other_forms


def told(release: Release) -> list[str]:
    """The names of the records that have another form."""
    return [text.split(" ")[0] for text in other_forms(release.folder, read_manifest(release.folder))]


def test_what_unwrite_wrote_has_its_form(release: Release) -> None:
    assert told(release) == []


@pytest.mark.parametrize("name", ["edit.json", "provenance.json"])
@pytest.mark.parametrize(
    "write",
    [
        json.dumps,
        lambda values: json_text(values).replace("\n", "\r\n"),
        lambda values: json_text(values) + " " * 1000,
        lambda values: json_text(dict(reversed(list(values.items())))),
        lambda values: json_text(values).replace("0.8", "0.80").replace('"name"', '"n\\u0061me"'),
    ],
    ids=["one line", "line breaks", "white space", "order", "values"],
)
def test_another_form_of_the_same_values_is_told(name: str, write: Callable[[Any], str], release: Release) -> None:
    path = release.folder / name
    text = write(json.loads(path.read_text()))
    path.write_bytes(text.encode())
    assert told(release) == [name]


@pytest.mark.parametrize(
    ("name", "field"), [("edit.json", "format"), ("provenance.json", "_type"), ("provenance.json", "predicateType")]
)
def test_a_record_that_does_not_say_its_kind_is_told(name: str, field: str, release: Release) -> None:
    path = release.folder / name
    values = json.loads(path.read_text())
    del values[field]
    path.write_text(json_text(values))
    assert told(release) == [name]


def test_a_damaged_record_is_left_to_its_check(release: Release) -> None:
    for damaged in ("{", "[]", '{"a": 1}', "[" * 100_000):
        (release.folder / "edit.json").write_text(damaged)
        assert told(release) == []


def test_an_index_counts_unless_it_is_the_base_s(release: Release) -> None:
    index = release.folder / INDEX_FILE
    index.write_text(json.dumps(json.loads(index.read_text())))
    assert told(release) == []
    manifest = read_manifest(release.folder)
    definition = manifest.predicate.build_definition
    others = [one for one in definition.resolved_dependencies if one.name != INDEX_FILE]
    single = definition.model_copy(update={"resolved_dependencies": others})
    predicate = manifest.predicate.model_copy(update={"build_definition": single})
    manifest = manifest.model_copy(update={"predicate": predicate})
    assert [text.split(" ")[0] for text in other_forms(release.folder, manifest)] == [INDEX_FILE]
