"""The manifest of a release, built from the records of its stages, and read back.

It lists every file of the release, and every file it was made from, with their sha256; the parameters; and for each
tensor whether it was edited, and how. It does not reveal whose machine the release was made on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment, current_environment
from unwrite.pipeline.git import git_state
from unwrite.pipeline.runs import StageRun
from unwrite.release.base_source import stated_base
from unwrite.release.public_values import public_parameters, public_path
from unwrite.release.statement import (
    BUILD_TYPE,
    BuildDefinition,
    Builder,
    Descriptor,
    ExternalParameters,
    InternalParameters,
    Manifest,
    Predicate,
    RunDetails,
    TensorEdit,
)
from unwrite.schema.artifacts import Base, Edit, FileDigest, Norm, Recipe, StoredLayout, biases_of
from unwrite.schema.parsing import FORMAT, parse_record, refuse_other_format
from unwrite.schema.paths import LISTINGS, MANIFEST, RUNS


def build_manifest(
    base: Base,
    recipe: Recipe,
    tensors: Iterable[str],
    files: Iterable[FileDigest],
    runs: Sequence[StageRun],
    *,
    allowed: Sequence[str] = (),
) -> Manifest:
    """Build the manifest of a release: of the merged model, and again of the published folder with card and figures.

    Args:
        base: the pinned model.
        recipe: the edit that was applied.
        tensors: names of all tensors of the checkpoint.
        files: every file of the release except the manifest itself.
        runs: records of the stages that led to it, in order.
        allowed: problems that the publisher let pass.

    Raises:
        UnwriteError: a stage read something other than what the stage before it wrote.
    """
    commit, clean = git_state()
    here, edited = current_environment(), tensor_edits(recipe)
    definition = BuildDefinition(
        build_type=f"{BUILD_TYPE}{FORMAT}",
        external_parameters=ExternalParameters(
            base=stated_base(base),
            parameters=_parameters(runs),
        ),
        internal_parameters=InternalParameters(
            settings=recipe.settings,
            trial=None if recipe.trial is None else recipe.trial.number,
            selection=recipe.selection,
            unexplained=base.unexplained,
            incomplete=base.incomplete,
            not_run=base.not_run,
            left_out=base.left_out,
            tensors={name: edited.get(name) for name in tensors},
            stages=_environments(runs, here),
            clean=clean,
            allowed=list(allowed),
        ),
        resolved_dependencies=[*_base_files(base), *_traced_files(runs), *_project(commit)],
    )
    builder = Builder(id="urn:unwrite:merge_model", version={"python": here.python, **here.packages})
    return Manifest(
        subject=[_descriptor(file) for file in files],
        predicate=Predicate(build_definition=definition, run_details=RunDetails(builder=builder)),
    )


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """Return the statement as JSON values, under its standard names."""
    values: dict[str, Any] = manifest.model_dump(mode="json", by_alias=True)
    definition = values["predicate"]["buildDefinition"]
    for one in (*values["subject"], *definition["resolvedDependencies"]):
        if one["uri"] is None:
            del one["uri"]
    return values


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the release in `folder`.

    Raises:
        UnwriteError: the manifest is missing, not JSON, of another kind or of another format.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: expected the folder of a release.")
    if not path.is_file():
        reason = "is empty" if not any(folder.iterdir()) else f"has no {MANIFEST}"
        raise UnwriteError(f"{folder} {reason}: it is not a release made by unwrite, or is incomplete.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnwriteError(f"{path} cannot be read: {error.strerror}.") from None
    version = re.search(rb'"buildType"\s*:\s*"' + BUILD_TYPE.encode() + rb'(\d{1,9})"', data)
    refuse_other_format(int(version[1]) if version else None, str(path))
    return parse_record(Manifest, data, str(path))


def tensor_edits(recipe: Recipe) -> dict[str, TensorEdit]:
    """Return the edit of every tensor that a recipe edits, by the tensor's name in the checkpoint."""
    return {
        stored.tensor: _tensor_edit(edit, stored, norms)
        for edit in recipe.edits
        for layout, norms in ((edit.matrix, edit.norms), *biases_of(edit))
        for stored in layout.stored
    }


def edited_patterns(edits: Mapping[str, TensorEdit]) -> list[str]:
    """Summarize edited tensors: one line per name pattern, with the number of tensors and their strengths λ.

    Names that differ only in numbers share a line. They are names of the checkpoint, which can be checked: the layer
    and component of an edit are only what the recipe's author called it.
    """
    groups: dict[str, list[float]] = {}
    for name, edit in edits.items():
        groups.setdefault(re.sub(r"\d+", "*", name), []).append(edit.strength)
    return [
        f"{pattern}: {len(strengths)}, λ {min(strengths):.3g}"
        + (f" to {max(strengths):.3g}" if len(set(strengths)) > 1 else "")
        for pattern, strengths in sorted(groups.items())
    ]


def _parameters(runs: Iterable[StageRun]) -> dict[str, dict[str, Any]]:
    """Return the sections that the stages read; of some, each stage reads other keys."""
    merged: dict[str, dict[str, Any]] = {}
    for run in runs:
        for name, section in run.parameters.items():
            merged[name] = merged.get(name, {}) | public_parameters(name, section)
    return merged


def _environments(runs: Sequence[StageRun], here: Environment) -> dict[str, Environment]:
    """Return the environment of every stage; while merge_model runs it has no record yet, and runs `here`."""
    stages = {run.stage: run.environment for run in runs}
    return stages if "merge_model" in stages else {**stages, "merge_model": here}


def _tensor_edit(edit: Edit, stored: StoredLayout, norms: list[Norm]) -> TensorEdit:
    return TensorEdit(
        layer=edit.layer,
        component=edit.component,
        axis=stored.axis,
        num_matrices=stored.num_matrices,
        strength=edit.strength,
        direction=edit.direction,
        norms=norms,
    )


def _base_files(base: Base) -> Iterator[Descriptor]:
    # https://github.com/package-url/purl-spec: type huggingface
    uri = None if base.commit is None else f"pkg:huggingface/{base.source}@{base.commit}"
    for file in base.files:
        yield _descriptor(file, role="base").model_copy(update={"uri": uri})


def _traced_files(runs: Sequence[StageRun]) -> Iterator[Descriptor]:
    """Yield every file that the stages read or wrote, once each."""
    known: dict[str, FileDigest] = {}
    for run in runs:
        for file in run.reads:
            if file.name not in known:
                known[file.name] = file
                yield _first_read(file, run.stage)
            elif known[file.name].sha256 != file.sha256:
                raise UnwriteError(
                    f"{file.name} changed before {run.stage} read it. "
                    "Run `unwrite audit` to see what changed, then `dvc repro -f` from the stage that makes it."
                )
        for file in run.writes:
            known[file.name] = file
            yield _descriptor(file, role="artifact", stage=run.stage)


def _first_read(file: FileDigest, stage: str) -> Descriptor:
    """Describe a file that no stage before recorded: an input, a run's record, or a list of files."""
    path = PurePosixPath(file.name)
    if path.parent == PurePosixPath(RUNS):
        return _descriptor(file, role="artifact", stage=path.stem)
    if path in map(PurePosixPath, LISTINGS):
        return _descriptor(file, role="artifact", stage="list_inputs")
    return _descriptor(file, role="input", stage=stage)


def _project(commit: str | None) -> Iterator[Descriptor]:
    if commit is not None:
        yield Descriptor(name="project", digest={"gitCommit": commit}, annotations={"role": "project"})


def _descriptor(file: FileDigest, **annotations: str) -> Descriptor:
    return Descriptor(
        name=public_path(file.name), digest={"sha256": file.sha256}, annotations={"size": file.size, **annotations}
    )
