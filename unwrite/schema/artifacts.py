"""The records that stages write as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unwrite.errors import UnwriteError
from unwrite.schema.parsing import FORMAT, parse_record
from unwrite.schema.paths import BASE
from unwrite.schema.text import refuse_endless
from unwrite.terms import Component, LayerSpan, NormPreservation, Orthogonalize, PostNorm, Quantization, Scope

A = TypeVar("A", bound="Artifact")


class Artifact(BaseModel):
    """The base of every record: unknown keys and numbers that are not finite are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileDigest(Artifact):
    """One file, by name, size in bytes and sha256."""

    name: str
    size: int
    sha256: str


class ModelFiles(Artifact):
    """The files in the folder of a local model or classifier; none for a hub id. Without a classifier, no source."""

    format: Literal[2] = FORMAT
    source: str | None
    files: list[FileDigest]


class TaskFiles(Artifact):
    """The files in the folder of the user's own benchmark tasks; `folder` is None if there is none."""

    format: Literal[2] = FORMAT
    folder: str | None
    files: list[FileDigest]


class SetFiles(Artifact):
    """The files of one kind that prompt sets name, by path in the project; with the prompts, the chat template."""

    format: Literal[2] = FORMAT
    files: list[FileDigest]


class PromptOrigin(Artifact):
    """Where a prompt set came from.

    `commit` is the hub's, for a hub id; `files` those of a local source, with paths in its folder. `prompts` counts the
    used ones by split, `truncated` those of them that were too long, `dropped` what was left out. `sha256` is that of
    the prompts before they are truncated: a line of JSON for each, [text, reference, system prompt, earlier turns].
    """

    source: str
    commit: str | None
    config: str | None
    system_prompt: str | None
    prompts: dict[str, int]
    dropped: dict[str, int]
    truncated: dict[str, int] = {}
    files: list[FileDigest]
    sha256: str


class TemplateOrigin(Artifact):
    """A chat template: `raw`, a path, or None for the model's own; and the sha256 of its text."""

    source: str | None
    sha256: str


class PromptOrigins(Artifact):
    """Where prompt sets came from, by name, the text that every response is made to begin with, and the template."""

    format: Literal[2] = FORMAT
    sets: dict[str, PromptOrigin]
    response_prefix: str = ""
    template: TemplateOrigin | None = None


class StoredLayout(Artifact):
    """Matrices [d, k] in a tensor of the checkpoint: its hidden axis, and how many matrices it holds."""

    tensor: str
    axis: int
    num_matrices: int


class ParameterLayout(Artifact):
    """A parameter of the model as matrices [d, k] (vectors [d], for a bias), in memory and in the checkpoint.

    `axis` is the parameter's hidden axis, `num_matrices` how many matrices it holds: one, or one per expert. The
    checkpoint may hold them in one tensor or in several; `stored` lists their matrices in the parameter's order.
    """

    parameter: str
    axis: int
    num_matrices: int
    stored: list[StoredLayout]


class Norm(Artifact):
    """A norm between a writer and the stream, y = γ∘x̂ + β.

    Its effective scale γ is `offset` plus its weight (ones without one). `centered` is whether it subtracts the mean,
    as LayerNorm does. `bias` is β; of several writers before one norm, the first has it.
    """

    parameter: str | None
    tensor: str | None
    offset: float
    centered: bool = False
    bias: ParameterLayout | None = None

    @model_validator(mode="after")
    def _named_in_both(self) -> Self:
        if (self.parameter is None) != (self.tensor is None):
            raise ValueError("a weight needs its name in the model and in the checkpoint")
        return self


class Writer(Artifact):
    """One parameter that writes the residual stream, with its bias.

    The output of `module` passes through `norms`, in order, and reaches the stream times `multiplier` (None: learned,
    or different for each token because of a gate). `shape` is the parameter's in memory, `dtype` the one in the
    checkpoint. `shared_layers` lists other layers that use the same (tied) parameter.
    """

    module: str
    layer: int
    component: Component
    matrix: ParameterLayout
    bias: ParameterLayout | None
    norms: list[Norm]
    multiplier: float | None
    shape: list[int]
    dtype: str
    shared_layers: list[int]


class BaseCard(Artifact):
    """The statements of the base model's own card, in the hub's terms; None, or no languages, if there are none."""

    license: str | None
    license_name: str | None
    license_link: str | None
    language: list[str]


class GgufOrigin(FileDigest):
    """The GGUF file that a model was dequantized from, and the version of transformers that did it."""

    transformers: str


class DequantizedFiles(Artifact):
    """The files of a model that was made from a GGUF file, as they were made; in the project's local state."""

    format: Literal[2] = FORMAT
    files: list[FileDigest]


class Base(Artifact):
    """`artifacts/base.json`: the model as it was when pinned. Every later stage depends on this, never on the folder.

    `unexplained` is the largest ‖h_out − s·h_in − Σ m·y‖ / ‖h_out‖ over layers: the share the writers do not explain.
    `compute_dtype` is what was asked for: `auto` is chosen by each run, whose record says what it was.
    `quantization` is how extraction and search store the weights of linear layers; the release has the stored dtype.
    `incomplete` lists what cannot be edited exactly; it is empty unless model.allow_incomplete is true.
    `not_run` names what the checkpoint stores as layers and the model does not run: it is left as it is.
    `padding_sensitive`: padding changes what the model computes, so the prompts of a batch must have one length.
    `streams` is the number of residual streams; of several, residuals are their mean.
    `left_out` names what the model's folder holds beside its files; a release does not have it.
    `gguf` is the file that `files` were made from, if `source` is one.
    """

    format: Literal[2] = FORMAT
    source: str
    commit: str | None
    architecture: str
    stored_dtype: str
    compute_dtype: str
    quantization: Quantization
    layers: int
    hidden_size: int
    vocabulary: int
    unexplained: float
    incomplete: list[str]
    not_run: list[str] = []
    padding_sensitive: bool
    streams: int = 1
    card: BaseCard
    files: list[FileDigest]
    left_out: list[str] = []
    gguf: GgufOrigin | None = None
    writers: list[Writer]


class DirectionRef(Artifact):
    """A direction: a real-valued residual index of directions.safetensors, at one of its positions.

    Between two indices the directions are interpolated. With `orthogonalize_to`, the result is orthogonalized against
    the baseline mean of that residual index (biprojection).
    """

    position: Annotated[int, Field(ge=0, lt=1 << 31)]
    index: float
    orthogonalize_to: Annotated[int, Field(ge=0, lt=1 << 31)] | None


class Edit(Artifact):
    """One writer to edit, with its strength and its direction v.

    With `norms`, normalize(γ∘v), centered where the norm is, is projected out of the writer, and v out of the norm's
    bias, so that v vanishes after the norms.
    """

    layer: Annotated[int, Field(ge=0, lt=1 << 31)]
    component: Component
    matrix: ParameterLayout
    bias: ParameterLayout | None
    norms: list[Norm]
    strength: float
    direction: DirectionRef


class PlacedBias(NamedTuple):
    """A bias that an edit or a writer includes, and the norms between it and the stream."""

    layout: ParameterLayout
    norms: list[Norm]


def biases_of(edit: Edit | Writer) -> list[PlacedBias]:
    """Return the bias of an edited writer, and those of the norms after it, in the order in which the output passes."""
    own = [] if edit.bias is None else [PlacedBias(edit.bias, edit.norms)]
    return own + [
        PlacedBias(norm.bias, edit.norms[number:]) for number, norm in enumerate(edit.norms, 1) if norm.bias is not None
    ]


class EditSettings(Artifact):
    """The settings that all trials of a search share, and that a recipe was made with.

    norm_preservation: which norms of each matrix an edit keeps.
    edit_bias: whether the biases of edited writers, and of the norms after them, are edited too.
    post_norm: whether the norms after a writer are compensated for.
    orthogonalize: how the directions were orthogonalized; `biprojected` repeats it at each layer that is edited.
    spans: (source layer, first layer, last layer) for trials whose scope is `spans`.
    """

    norm_preservation: NormPreservation
    edit_bias: bool
    post_norm: PostNorm
    orthogonalize: Orthogonalize
    spans: list[LayerSpan]


class Kernel(Artifact):
    """The strength over layers for one component; positions and distances are in layers."""

    max_weight: float
    max_weight_position: float
    min_weight: float
    min_weight_distance: float


class TrialParameters(Artifact):
    """The values that one trial sampled. `direction_index` is a residual index; `position` counts stored positions."""

    direction_scope: Scope
    direction_index: float
    position: int
    attention: Kernel
    mlp: Kernel


class Trial(Artifact):
    """One edit tried on the validation split: its behaviour rate, and its KL divergence in nats."""

    number: int
    behaviour_rate: float
    kl: float
    parameters: TrialParameters


class Front(Artifact):
    """`artifacts/front.json`: the trials that no other trial beats in both objectives, and the settings they share.

    `one_shot` is the best of the settings that need no search, which a search must beat. It is None if the space
    excludes them all, or if none was measured.
    """

    format: Literal[2] = FORMAT
    settings: EditSettings
    kl_tokens: int
    base_behaviour_rate: float
    one_shot: Trial | None
    trials: list[Trial]


class SelectedTrial(Artifact):
    """The trial that a recipe was made from, as measured on the validation split."""

    number: int
    behaviour_rate: float
    kl: float


class Recipe(Artifact):
    """`artifacts/edit.json`: the complete edit, every parameter with its strength and direction.

    `trial` is None for a recipe that comes from no search; `selection` says why these parameters were chosen.
    """

    format: Literal[2] = FORMAT
    trial: SelectedTrial | None
    selection: str
    parameters: TrialParameters
    settings: EditSettings
    edits: list[Edit]


def read_artifact(model: type[A], path: Path, stage: str) -> A:
    """Read one of the records above from a JSON file written by `stage`.

    Raises:
        UnwriteError: the file is missing, or is not a valid record.
    """
    refuse_endless(path)
    try:
        return parse_record(model, path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run `dvc repro {stage}` first.") from None
    except UnwriteError as error:
        raise UnwriteError(f"{error}. Run `dvc repro -f {stage}`.") from None


def read_base() -> Base:
    """Read `artifacts/base.json`.

    Raises:
        UnwriteError: the file is missing or damaged.
    """
    return read_artifact(Base, BASE, "pin_model")


def as_json(artifact: Artifact) -> dict[str, Any]:
    """Return the record as plain JSON values."""
    return artifact.model_dump(mode="json")
