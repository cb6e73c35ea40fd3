"""The manifest has the shape of in-toto and SLSA, says what was done to every tensor, and nothing about who did it."""

import getpass
import json
import platform
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.samples import sample_base, sample_edit, sample_layout, sample_recipe, sample_writer
from unwrite.artifacts import Base, DirectionRef, FileDigest, Layout, Norm, Place
from unwrite.provenance.manifest import build_manifest

SHA = {
    name: character * 64 for name, character in (("config.json", "a"), ("model.safetensors", "b"), ("edit.json", "c"))
}
DIRECTION = DirectionRef(position=0, index=1.5, orthogonalize_to=2)
ATTENTION = sample_writer(
    0, "attention", norms=[Norm(parameter="0.norm", tensor="norm.weight", offset=1.0)], matrix=sample_layout("0.o", 1)
)
EXPERTS = sample_writer(
    3,
    "mlp",
    matrix=Layout(parameter="e", axis=1, groups=2, stored=[Place(tensor=f"e.{n}", axis=0, groups=1) for n in (0, 1)]),
    bias=sample_layout("e.bias", 1, 2),
)
RECIPE = sample_recipe([sample_edit(ATTENTION, 0.9, DIRECTION), sample_edit(EXPERTS, -0.1, DIRECTION)])
TENSORS = ["embed.weight", "0.o", "e.0", "e.1", "e.bias", "norm.weight"]
SETTINGS = {"center": "mean", "winsorize": {"quantile": 0.995}}


def digest(name: str) -> FileDigest:
    return FileDigest(name=name, size=10, sha256=SHA[name])


def base(source: str = "organisation/name", commit: str | None = "0123abcd") -> Base:
    return sample_base(source=source, commit=commit, files=[digest("config.json"), digest("model.safetensors")])


def manifest(of: Base | None = None) -> dict[str, Any]:
    return build_manifest(of or base(), RECIPE, TENSORS, [digest(name) for name in SHA], SETTINGS)


def strings(value: object) -> Iterator[str]:
    """Every key and every text in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def test_it_is_an_in_toto_statement() -> None:
    # https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
    statement = manifest()
    assert list(statement) == ["_type", "subject", "predicateType", "predicate"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


def test_it_is_json() -> None:
    assert json.loads(json.dumps(manifest(), allow_nan=False)) == manifest()


def test_every_file_of_the_release_is_a_subject_with_its_digest() -> None:
    subjects = manifest()["subject"]
    assert {subject["name"]: subject["digest"] for subject in subjects} == {n: {"sha256": s} for n, s in SHA.items()}


def test_every_file_of_the_base_is_a_dependency_with_its_digest() -> None:
    dependencies = manifest()["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {one["name"]: one["digest"]["sha256"] for one in dependencies} == {
        name: SHA[name] for name in ("config.json", "model.safetensors")
    }


def test_descriptors_have_the_fields_of_in_toto_only() -> None:
    # https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md
    known = {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
    statement = manifest()
    for one in (*statement["subject"], *statement["predicate"]["buildDefinition"]["resolvedDependencies"]):
        assert set(one) <= known
        assert re.fullmatch("[0-9a-f]{64}", one["digest"]["sha256"])


def test_the_predicate_has_the_fields_of_slsa_and_extensions_marked_as_such() -> None:
    # https://slsa.dev/spec/v1.0/provenance: names of extensions have an underscore, names of the standard never do.
    predicate = manifest()["predicate"]
    assert set(predicate) == {"buildDefinition", "runDetails"}
    assert set(predicate["buildDefinition"]) == {
        "buildType",
        "externalParameters",
        "internalParameters",
        "resolvedDependencies",
    }
    assert set(predicate["runDetails"]) == {"builder", "metadata"}
    assert set(predicate["runDetails"]["builder"]) <= {"id", "builderDependencies", "version"}
    standard = {"invocationId", "startedOn", "finishedOn"}
    assert all("_" in name for name in set(predicate["runDetails"]["metadata"]) - standard)
    # TypeURI: a scheme and something after it
    for uri in (predicate["buildDefinition"]["buildType"], predicate["runDetails"]["builder"]["id"]):
        assert re.fullmatch(r"[a-z]+:\S+", uri)


def test_every_tensor_is_listed_and_edited_ones_with_what_was_done() -> None:
    tensors = manifest()["predicate"]["buildDefinition"]["internalParameters"]["tensors"]
    direction = {"position": 0, "index": 1.5, "orthogonalize_to": 2}
    experts = {"layer": 3, "component": "mlp", "weight": -0.1, "direction": direction, "norms": []}
    assert tensors == {
        "embed.weight": None,
        "0.o": {
            "layer": 0,
            "component": "attention",
            "axis": 1,
            "groups": 1,
            "weight": 0.9,
            "direction": direction,
            "norms": [{"tensor": "norm.weight", "offset": 1.0}],
        },
        "e.0": experts | {"axis": 0, "groups": 1},
        "e.1": experts | {"axis": 0, "groups": 1},
        "e.bias": experts | {"axis": 1, "groups": 2},
        "norm.weight": None,
    }


def test_what_can_not_be_edited_is_stated() -> None:
    def stated(of: Base) -> Any:
        return manifest(of)["predicate"]["buildDefinition"]["internalParameters"]["incomplete"]

    assert stated(base()) == []
    assert stated(base().model_copy(update={"incomplete": ["layer 2: a gate"]})) == ["layer 2: a gate"]


def test_the_recipe_and_the_settings_of_the_directions_are_in_it() -> None:
    parameters = manifest()["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["directions"] == SETTINGS
    assert parameters["recipe"] == RECIPE.model_dump(mode="json", exclude={"edits"})
    assert parameters["recipe"]["norm_preservation"] == "rows"
    assert parameters["base"] == {"source": "organisation/name", "commit": "0123abcd"}


def test_versions_are_texts() -> None:
    versions = manifest()["predicate"]["runDetails"]["builder"]["version"]
    assert versions["python"] == platform.python_version()
    assert set(versions) >= {"unwrite", "torch", "transformers", "safetensors"}
    assert all(isinstance(version, str) for version in versions.values())


@pytest.mark.parametrize("source", ["/home/ada/models/tiny", "../ada/tiny", "demo/tiny", "./tiny", "tiny"])
def test_of_a_local_base_the_folder_name_is_all_that_is_told(source: str) -> None:
    parameters = manifest(base(source, None))["predicate"]["buildDefinition"]["externalParameters"]
    assert parameters["base"] == {"source": "tiny", "commit": None}


def test_nothing_tells_who_made_it_or_where() -> None:
    texts = list(strings(manifest(base(str(Path.home() / "models" / "tiny"), None))))
    assert not [text for text in texts if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", text)]
    private = {getpass.getuser(), socket.gethostname(), str(Path.home()), str(Path.cwd())}
    words = {word for text in texts for word in re.split(r"[\s/\\:@]", text)} | set(texts)
    assert not private & words


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "--no-gpg-sign", "-m", "one")
    return tmp_path


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def recorded_git() -> dict[str, Any]:
    state: dict[str, Any] = manifest()["predicate"]["runDetails"]["metadata"]["unwrite_git"]
    return state


def test_the_commit_and_a_clean_tree_are_recorded(repository: Path) -> None:
    (repository / "untracked").write_text("")
    assert recorded_git() == {"commit": git("rev-parse", "HEAD"), "clean": True}


def test_what_the_pipeline_writes_leaves_the_tree_clean(repository: Path) -> None:
    for name in ("dvc.lock", "artifacts/base.json"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("")
        git("add", name)
    assert recorded_git()["clean"] is True


def test_a_changed_tree_is_recorded(repository: Path) -> None:
    (repository / "file").write_text("two")
    assert recorded_git() == {"commit": git("rev-parse", "HEAD"), "clean": False}


def test_outside_a_repository_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert recorded_git() == {"commit": None, "clean": None}


def test_without_git_nothing_is_claimed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert recorded_git() == {"commit": None, "clean": None}
