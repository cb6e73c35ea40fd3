"""The shape of a release's manifest: an in-toto statement with a SLSA provenance predicate.

Specifications: https://github.com/in-toto/attestation/tree/main/spec/v1, https://slsa.dev/spec/v1.0/provenance.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from unwrite.pipeline.environment import Environment
from unwrite.schema.artifacts import DirectionRef, EditSettings, Norm
from unwrite.schema.parsing import FORMAT
from unwrite.terms import Component

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:unwrite:directional-ablation:v"

Role = Literal["base", "input", "artifact", "project"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Descriptor(_Part):
    """A file or a commit: in-toto's ResourceDescriptor.

    `annotations` hold the size in bytes and, for a dependency, its role and the stage that wrote or read it.
    """

    name: str
    uri: str | None = None
    digest: dict[str, str]
    annotations: dict[str, Any] = {}


class TensorEdit(_Part):
    """The edit of one tensor of the checkpoint: an edit of the recipe, as far as it concerns this tensor."""

    layer: int
    component: Component
    axis: int
    num_matrices: int
    strength: float
    direction: DirectionRef
    norms: list[Norm]


class ExternalParameters(_Part):
    """The user's choices: the base model, and params.yaml by section, without what cannot change a result."""

    base: dict[str, str | None]
    parameters: dict[str, dict[str, Any]]


class InternalParameters(_Part):
    """The pipeline's results: every tensor of the checkpoint with its edit (None: as in the base).

    `not_run` names the layers that the checkpoint stores, and no model in transformers runs: they are as in the base.
    `left_out` names what the base's folder holds and the release does not.
    `stages` holds the environment of each stage. `clean`: whether the project's working tree had no uncommitted
    changes (None: no repository). `allowed` lists the problems that `unwrite publish --allow` let pass.
    """

    settings: EditSettings
    trial: int | None
    selection: str
    unexplained: float
    incomplete: list[str]
    not_run: list[str] = []
    left_out: list[str] = []
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
        """The pipeline's results."""
        return self.predicate.build_definition.internal_parameters

    @property
    def external(self) -> ExternalParameters:
        """The user's choices."""
        return self.predicate.build_definition.external_parameters

    def dependencies(self, role: Role) -> list[Descriptor]:
        """Return the dependencies with one role."""
        found = self.predicate.build_definition.resolved_dependencies
        return [one for one in found if one.annotations.get("role") == role]
