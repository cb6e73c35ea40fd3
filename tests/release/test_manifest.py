"""A manifest has the published shape and states how every tensor was made and from what, but not by whom."""

import getpass
import json
import platform
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import sample_base, sample_edit, sample_layout, sample_recipe, sample_run, sample_writer
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.pipeline.runs import StageRun
from unwrite.release.manifest import (
    build_manifest,
    manifest_json,
    read_manifest,
)
from unwrite.release.statement import Manifest
from unwrite.schema.artifacts import Base, DirectionRef, FileDigest, Norm, ParameterLayout, StoredLayout

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
    matrix=ParameterLayout(
        parameter="e",
        axis=1,
        num_matrices=2,
        stored=[StoredLayout(tensor=f"e.{n}", axis=0, num_matrices=1) for n in (0, 1)],
    ),
    bias=sample_layout("e.bias", 1, 2),
)
RECIPE = sample_recipe([sample_edit(ATTENTION, 0.9, DIRECTION), sample_edit(EXPERTS, -0.1, DIRECTION)])
TENSORS = ["embed.weight", "0.o", "e.0", "e.1", "e.bias", "norm.weight"]


def digest(name: str, character: str = "d") -> FileDigest:
    return FileDigest(name=name, size=10, sha256=SHA.get(name, character * 64))


RUNS = [
    sample_run(
        "tokenize_prompts",
        {"tokenize": {"target": "prompts/teaware.jsonl", "system_prompt": "/no_think"}},
        reads=[digest("prompts/teaware.jsonl", "1")],
        writes=[digest("artifacts/tokens/target.train.jsonl", "2")],
    ),
    sample_run(
        "extract_residuals",
        {"residuals": {"positions": [-1]}},
        reads=[digest("artifacts/tokens/target.train.jsonl", "2")],
        writes=[digest("artifacts/residuals/target.safetensors", "3")],
    ),
]


def base(source: str = "organisation/name", commit: str | None = "0123abcd") -> Base:
    return sample_base(source=source, commit=commit, files=[digest("config.json"), digest("model.safetensors")])


def manifest(of: Base | None = None, runs: Sequence[StageRun] = RUNS) -> Manifest:
    return build_manifest(of or base(), RECIPE, TENSORS, [digest(name) for name in SHA], runs)


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


def test_every_file_of_the_release_is_a_subject_with_its_digest() -> None:
    assert {subject.name: subject.digest for subject in manifest().subject} == {
        n: {"sha256": s} for n, s in SHA.items()
    }


def test_every_file_of_the_base_is_a_dependency_with_its_commit() -> None:
    found = manifest().dependencies("base")
    assert {one.name: one.digest["sha256"] for one in found} == {
        name: SHA[name] for name in ("config.json", "model.safetensors")
    }
    assert {one.uri for one in found} == {"pkg:huggingface/organisation/name@0123abcd"}
    assert {one.uri for one in manifest(base("tiny", None)).dependencies("base")} == {None}


def test_every_input_and_artifact_is_a_dependency_once() -> None:
    def listed(role: Any) -> list[tuple[str, str, str]]:
        return [(one.name, one.digest["sha256"][0], one.annotations["stage"]) for one in manifest().dependencies(role)]

    assert listed("input") == [("prompts/teaware.jsonl", "1", "tokenize_prompts")]
    assert listed("artifact") == [
        ("artifacts/tokens/target.train.jsonl", "2", "tokenize_prompts"),
        ("artifacts/residuals/target.safetensors", "3", "extract_residuals"),
    ]


def test_record_of_a_stage_is_an_artifact_of_that_stage() -> None:
    merge = sample_run("merge_model", reads=[digest("artifacts/runs/tokenize_prompts.json")])
    (*_, record) = manifest(runs=[*RUNS, merge]).dependencies("artifact")
    assert (record.name, record.annotations["stage"]) == ("artifacts/runs/tokenize_prompts.json", "tokenize_prompts")


def test_artifact_replaced_between_two_stages_is_refused() -> None:
    first, second = RUNS
    exchanged = second.model_copy(update={"reads": [digest("artifacts/tokens/target.train.jsonl", "9")]})
    with pytest.raises(
        UnwriteError, match=r"artifacts/tokens/target\.train\.jsonl changed before extract_residuals read it"
    ):
        manifest(runs=[first, exchanged])


def test_manifest_has_parameters_and_environment_of_every_stage() -> None:
    found = manifest()
    assert found.external.parameters == {
        "tokenize": {"target": "prompts/teaware.jsonl", "system_prompt": "/no_think"},
        "residuals": {"positions": [-1]},
    }
    assert list(found.internal.stages) == ["tokenize_prompts", "extract_residuals", "merge_model"]
    assert found.internal.stages["merge_model"].python == platform.python_version()
    assert (found.internal.settings.norm_preservation, found.internal.trial) == ("rows", 0)


def test_every_tensor_is_listed_with_its_edit() -> None:
    tensors = manifest_json(manifest())["predicate"]["buildDefinition"]["internalParameters"]["tensors"]
    direction = {"position": 0, "index": 1.5, "orthogonalize_to": 2}
    experts = {"layer": 3, "component": "mlp", "strength": -0.1, "direction": direction, "norms": []}
    assert tensors == {
        "embed.weight": None,
        "0.o": {
            "layer": 0,
            "component": "attention",
            "axis": 1,
            "num_matrices": 1,
            "strength": 0.9,
            "direction": direction,
            "norms": [{"parameter": "0.norm", "tensor": "norm.weight", "offset": 1.0, "centered": False, "bias": None}],
        },
        "e.0": experts | {"axis": 0, "num_matrices": 1},
        "e.1": experts | {"axis": 0, "num_matrices": 1},
        "e.bias": experts | {"axis": 1, "num_matrices": 2},
        "norm.weight": None,
    }


def test_manifest_states_what_cannot_be_edited() -> None:
    assert manifest().internal.incomplete == []
    gap = base().model_copy(update={"incomplete": ["layer 2: a gate"]})
    assert manifest(gap).internal.incomplete == ["layer 2: a gate"]


@pytest.mark.parametrize("source", ["/home/ada/models/tiny", "../ada/tiny", "demo/tiny", "./tiny", "tiny"])
def test_local_base_is_published_by_its_folder_name_only(source: str) -> None:
    assert manifest(base(source, None)).external.base == {"source": "tiny", "commit": None}


def test_manifest_does_not_reveal_who_made_it_or_where() -> None:
    home = str(Path.home())
    private_run = sample_run(
        "tokenize_prompts",
        {"tokenize": {"target": f"{home}/x.jsonl"}, "model": {"source": f"{home}/models/tiny"}},
        reads=[digest(f"{home}/x.jsonl")],
    )
    texts = list(strings(manifest_json(manifest(base(f"{home}/models/tiny", None), [private_run]))))
    assert not [text for text in texts if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", text)]
    private = {getpass.getuser(), socket.gethostname(), home, str(Path.cwd())}
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


def test_the_commit_and_a_clean_tree_are_recorded(repository: Path) -> None:
    (repository / "untracked").write_text("")
    found = manifest()
    (project,) = found.dependencies("project")
    assert project.digest == {"gitCommit": git("rev-parse", "HEAD")}
    assert found.internal.clean is True


def test_a_changed_file_makes_it_unclean(repository: Path) -> None:
    (repository / "file").write_text("two")
    assert manifest().internal.clean is False


@pytest.mark.usefixtures("tmp_path")
def test_outside_a_repository_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = manifest()
    assert found.dependencies("project") == []
    assert found.internal.clean is None


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "provenance.json", manifest_json(manifest()))
    assert read_manifest(tmp_path) == manifest()


def written(folder: Path, change: Any) -> None:
    values = json.loads(json.dumps(manifest_json(manifest())))
    change(values)
    write_json(folder / "provenance.json", values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["predicate"]["buildDefinition"].update(buildType="urn:unwrite:directional-ablation:v3"),
         "has format 3, which a newer unwrite reads; this version reads format 2"),
        (lambda m: m["predicate"]["buildDefinition"].update(buildType="urn:unwrite:directional-ablation:v1"),
         r"has format 1, which unwrite 0\.1 reads; this version reads format 2"),
        (lambda m: m["predicate"]["buildDefinition"].update(buildType="urn:other"), r"buildType: String should match"),
        (lambda m: m.update(_type="x"), r"is not a valid manifest \(_type: "),
        (lambda m: m.pop("subject"), r"\(subject: Field required\)"),
        (lambda m: m["subject"][0].update(digest="x"), r"\(subject\.0\.digest: "),
    ],
)  # fmt: skip
def test_other_manifests_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    written(tmp_path, change)
    with pytest.raises(UnwriteError, match=message):
        read_manifest(tmp_path)


def test_missing_folder_empty_folder_and_invalid_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="nowhere is not a folder"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(UnwriteError, match=r"is empty: it is not a release made by unwrite"):
        read_manifest(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnwriteError, match=r"has no provenance\.json"):
        read_manifest(tmp_path)
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(UnwriteError, match=r"is not a valid manifest \(the file: Invalid JSON"):
        read_manifest(tmp_path)
