"""The manifest of a release: an in-toto statement with a SLSA provenance predicate, written beside the weights.

Its subject is every file of the release; its dependencies are the base's files, the prompts and markers, and every
artifact on the way to the weights, each with its sha256; its parameters are those of params.yaml. Of every tensor it
says whether it was edited, and with what. It says nothing about whose machine it was made on.

Specifications: https://github.com/in-toto/attestation/tree/main/spec/v1, https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment, current_environment
from unwrite.pipeline.git import git_state
from unwrite.pipeline.runs import StageRun
from unwrite.schema.artifacts import Base, DirectionRef, Edit, EditSettings, FileDigest, Norm, Recipe, StoredLayout
from unwrite.schema.parsing import FORMAT, parse_record, refuse_other_format
from unwrite.schema.paths import MANIFEST, RUNS
from unwrite.terms import Component

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:unwrite:directional-ablation:v"

_PATHS = {("model", "source"), ("tokenize", "target"), ("tokenize", "baseline"), ("judge", "markers")}

Role = Literal["base", "input", "artifact", "project"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Descriptor(_Part):
    """in-toto's ResourceDescriptor: a file, or a commit.

    `annotations`: size in bytes; of a dependency its role, and the stage that wrote or read it.
    """

    name: str
    uri: str | None = None
    digest: dict[str, str]
    annotations: dict[str, Any] = {}


class TensorEdit(_Part):
    """What was done to one tensor of the checkpoint: an edit of the recipe, as far as it concerns this tensor."""

    layer: int
    component: Component
    axis: int
    num_matrices: int
    strength: float
    direction: DirectionRef
    norms: list[Norm]


class ExternalParameters(_Part):
    """What a person chose: the base model, and params.yaml by section, less what can't change a result."""

    base: dict[str, str | None]
    parameters: dict[str, dict[str, Any]]


class InternalParameters(_Part):
    """What the pipeline made of it: every tensor of the checkpoint with its edit (None: as in the base).

    `stages` is what each stage ran on. `clean`: whether the project's tree was, at its commit (None: no repository).
    `allowed` lists what `unwrite publish` was told to let pass.
    """

    settings: EditSettings
    trial: int | None
    selection: str
    unexplained: float
    incomplete: list[str]
    tensors: dict[str, TensorEdit | None]
    stages: dict[str, Environment]
    clean: bool | None
    allowed: list[str] = []


class BuildDefinition(_Part):
    """SLSA's buildDefinition."""

    build_type: str = Field(alias="buildType", pattern=f"^{BUILD_TYPE}{FORMAT}$")
    external_parameters: ExternalParameters = Field(alias="externalParameters")
    internal_parameters: InternalParameters = Field(alias="internalParameters")
    resolved_dependencies: list[Descriptor] = Field(alias="resolvedDependencies")


class Builder(_Part):
    """SLSA's builder."""

    id: str
    version: dict[str, str]


class RunDetails(_Part):
    """SLSA's runDetails."""

    builder: Builder


class Predicate(_Part):
    """SLSA's provenance predicate."""

    build_definition: BuildDefinition = Field(alias="buildDefinition")
    run_details: RunDetails = Field(alias="runDetails")


class Manifest(_Part):
    """in-toto's statement."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT_TYPE, alias="_type")
    subject: list[Descriptor]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(PREDICATE_TYPE, alias="predicateType")
    predicate: Predicate

    @property
    def internal(self) -> InternalParameters:
        """What the pipeline made."""
        return self.predicate.build_definition.internal_parameters

    @property
    def external(self) -> ExternalParameters:
        """What a person chose."""
        return self.predicate.build_definition.external_parameters

    def dependencies(self, role: Role) -> list[Descriptor]:
        """The dependencies that play one role."""
        found = self.predicate.build_definition.resolved_dependencies
        return [one for one in found if one.annotations.get("role") == role]


def build_manifest(
    base: Base,
    recipe: Recipe,
    tensors: Iterable[str],
    files: Iterable[FileDigest],
    runs: Sequence[StageRun],
    *,
    allowed: Sequence[str] = (),
) -> Manifest:
    """The manifest of a release: as it is merged, and again as it is published, with card and figures.

    Args:
        base: The pinned model.
        recipe: The edit that was applied.
        tensors: Every tensor of the checkpoint.
        files: Every file of the release, the manifest itself excepted.
        runs: Of the stages that led to it, in order.
        allowed: What its publisher was told of and let pass.

    Raises:
        UnwriteError: A stage read something else than the stage before it wrote.
    """
    commit, clean = git_state()
    here = current_environment()
    stages = {run.stage: run.environment for run in runs}
    stages.setdefault("merge_model", here)
    edited = tensor_edits(recipe)
    definition = BuildDefinition(
        build_type=f"{BUILD_TYPE}{FORMAT}",
        external_parameters=ExternalParameters(
            base={"source": public_source(base), "commit": base.commit},
            parameters={name: _public(name, section) for run in runs for name, section in run.parameters.items()},
        ),
        internal_parameters=InternalParameters(
            settings=recipe.settings,
            trial=None if recipe.trial is None else recipe.trial.number,
            selection=recipe.selection,
            unexplained=base.unexplained,
            incomplete=base.incomplete,
            tensors={name: edited.get(name) for name in tensors},
            stages=stages,
            clean=clean,
            allowed=list(allowed),
        ),
        resolved_dependencies=[*_base_files(base), *_traced(runs), *_project(commit)],
    )
    return Manifest(
        subject=[_descriptor(file) for file in files],
        predicate=Predicate(
            build_definition=definition,
            run_details=RunDetails(
                builder=Builder(id="urn:unwrite:merge_model", version={"python": here.python, **here.packages})
            ),
        ),
    )


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The statement as JSON values, under its standard names."""
    values: dict[str, Any] = manifest.model_dump(mode="json", by_alias=True)
    definition = values["predicate"]["buildDefinition"]
    for one in (*values["subject"], *definition["resolvedDependencies"]):
        if one["uri"] is None:
            del one["uri"]
    return values


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the release in `folder`.

    Raises:
        UnwriteError: There is none, it is not JSON, not of this kind, or of a newer version.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: expected that of a release.")
    if not path.is_file():
        reason = "is empty" if not any(folder.iterdir()) else f"has no {MANIFEST}"
        raise UnwriteError(f"{folder} {reason}: it is no release made by unwrite, or not all of one.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnwriteError(f"{path} can't be read: {error.strerror}.") from None
    version = re.search(rb'"buildType"\s*:\s*"' + BUILD_TYPE.encode() + rb'(\d{1,9})"', data)
    refuse_other_format(int(version[1]) if version else None, str(path))
    return parse_record(Manifest, data, str(path))


def tensor_edits(recipe: Recipe) -> dict[str, TensorEdit]:
    """What a recipe does, tensor by tensor of the checkpoint."""
    return {
        place.tensor: _tensor_edit(edit, place)
        for edit in recipe.edits
        for layout in (edit.matrix, edit.bias)
        for place in (layout.stored if layout is not None else [])
    }


def edited_patterns(edits: Mapping[str, TensorEdit]) -> list[str]:
    """What is edited, by tensors whose names differ in numbers alone, with how many they are and their weights λ.

    The names are the checkpoint's; layer and component of an edit are what whoever wrote the recipe calls it.
    """
    groups: dict[str, list[float]] = {}
    for name, edit in edits.items():
        groups.setdefault(re.sub(r"\d+", "*", name), []).append(edit.strength)
    return [
        f"{pattern}: {len(weights)}, λ {min(weights):.3g}"
        + (f" to {max(weights):.3g}" if len(set(weights)) > 1 else "")
        for pattern, weights in sorted(groups.items())
    ]


def public_source(base: Base) -> str:
    """A hub id, or the name of a local folder: its path would tell whose machine made the release."""
    return base.source if base.commit is not None else Path(base.source).resolve().name


def _tensor_edit(edit: Edit, place: StoredLayout) -> TensorEdit:
    return TensorEdit(
        layer=edit.layer,
        component=edit.component,
        axis=place.axis,
        num_matrices=place.num_matrices,
        strength=edit.strength,
        direction=edit.direction,
        norms=edit.norms,
    )


def _base_files(base: Base) -> Iterator[Descriptor]:
    # https://github.com/package-url/purl-spec: type huggingface
    uri = None if base.commit is None else f"pkg:huggingface/{base.source}@{base.commit}"
    for file in base.files:
        yield _descriptor(file, role="base").model_copy(update={"uri": uri})


def _traced(runs: Sequence[StageRun]) -> Iterator[Descriptor]:
    """Every file that the stages read or wrote, each once."""
    known: dict[str, FileDigest] = {}
    for run in runs:
        for file in run.reads:
            if file.name not in known:
                known[file.name] = file
                made_by = _recorded_stage(file)
                role, stage = ("input", run.stage) if made_by is None else ("artifact", made_by)
                yield _descriptor(file, role=role, stage=stage)
            elif known[file.name].sha256 != file.sha256:
                raise UnwriteError(
                    f"{run.stage} read another {file.name} than was there before it: somebody changed it in between. "
                    "Run `unwrite audit` to see what, and `dvc repro -f` from the stage that makes it."
                )
        for file in run.writes:
            known[file.name] = file
            yield _descriptor(file, role="artifact", stage=run.stage)


def _recorded_stage(file: FileDigest) -> str | None:
    """Whose record a file is: one can't list itself, so that it is first met where it is read."""
    path = PurePosixPath(file.name)
    return path.stem if str(path.parent) == RUNS.as_posix() else None


def _project(commit: str | None) -> Iterator[Descriptor]:
    if commit is not None:
        yield Descriptor(name="project", digest={"gitCommit": commit}, annotations={"role": "project"})


def _descriptor(file: FileDigest, **annotations: str) -> Descriptor:
    return Descriptor(
        name=public_path(file.name), digest={"sha256": file.sha256}, annotations={"size": file.size, **annotations}
    )


def _public(section: str, values: dict[str, Any]) -> dict[str, Any]:
    return {key: public_path(value) if (section, key) in _PATHS else value for key, value in values.items()}


def public_path(path: str) -> str:
    """A path as it may be told: of one that leads out of the project the last part alone."""
    pure = PureWindowsPath(path) if PureWindowsPath(path).drive else PurePosixPath(path)
    leads_out = pure.is_absolute() or ".." in pure.parts or path.startswith("~")
    return pure.name if leads_out else path
