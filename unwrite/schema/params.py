"""The schema of params.yaml: one model per section, validated as a whole before anything runs."""

from __future__ import annotations

import math
import re
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from unwrite.errors import UnwriteError
from unwrite.schema.gates import check_gate_figure, parse_gate
from unwrite.schema.params_errors import describe_errors, describe_value
from unwrite.schema.safe_yaml import load_yaml
from unwrite.schema.text import read_text
from unwrite.terms import (
    SETS,
    BackendName,
    CenterMethod,
    ComputeDtype,
    JudgeInput,
    LongPrompts,
    MapProjection,
    NormPreservation,
    Orthogonalize,
    PostNorm,
    Quantization,
    Sampler,
    Scope,
)

FOUND = "auto"
"""The response prefix that stands for the one that `tokenize_prompts` finds."""

RAW = "raw"
"""The chat template that stands for none: prompts are plain text."""

PARAMS_FILE = Path("params.yaml")


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("must be [low, high] with low no greater than high")
    return bounds


def _within(low: float, high: float) -> AfterValidator:
    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] < low or bounds[1] > high:
            raise ValueError(f"must lie within [{low}, {high}]")
        return bounds

    return AfterValidator(check)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise ValueError("must be auto, cpu, cuda, cuda:N or mps")
    return name


def _device_with_memory(device: Any) -> Any:
    if device not in ("cpu", "mps") and (type(device) is not int or device < 0):
        raise ValueError("must be the number of a GPU, cpu or mps")
    return device


def _memory(value: Any) -> Any:
    is_text = isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?[GMK]i?B", value)
    if not is_text and (type(value) is not int or value < 0):
        raise ValueError("must be bytes, or a text such as 20GiB or 500MB")
    return value


def _auto_or_at_least(least: int, value: Any) -> Any:
    if value != "auto" and (type(value) is not int or value < least):
        raise ValueError(f"must be auto or an integer of at least {least}")
    return value


def workers_value(value: Any) -> Any:
    """Return a number of workers, or where they are.

    Raises:
        ValueError: it is neither.
    """
    is_number = type(value) is int and value >= 1
    if not is_number and not (isinstance(value, str) and re.fullmatch(r"auto|ray://[^/\s]+:\d+", value)):
        raise ValueError("must be auto, an integer of at least 1, or ray://HOST:PORT")
    return value


def _distinct(positions: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(positions)) < len(positions):
        raise ValueError("must not list a position twice")
    return positions


def _distinct_scopes(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("must not list a scope twice")
    return scopes


def _set_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in {*SETS, "kl"}:
        raise ValueError("must be a name of small letters, digits and _, other than target, baseline and kl")
    return name


def _distinct_tasks(tasks: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tasks)) < len(tasks):
        raise ValueError("must not list a task twice")
    return tasks


def _ordered(span: tuple[int, int, int]) -> tuple[int, int, int]:
    if span[1] > span[2]:
        raise ValueError("must be [source, first, last] with first no greater than last")
    return span


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float, type(None))) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be text, a finite number, true, false or null")
    return value


def _slice(text: str) -> str:
    found = SLICE.fullmatch(text)
    if found is None or (found["stop"] and int(found["stop"]) <= int(found["start"] or 0)):
        raise ValueError("must be a slice such as '[:400]', '[400:500]' or 'train[:400]'")
    return text


def _date(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError("must be a date such as '2025-01-01', or null") from None


SLICE = re.compile(r"(?P<split>[\w.-]*)\[(?P<start>\d{0,12}):(?P<stop>\d{0,12})\]", re.ASCII)
_SliceText = Annotated[str, AfterValidator(_slice)]
_Given = Annotated[str, Field(min_length=1)]
Bounds = Annotated[tuple[float, float], AfterValidator(_ascending)]
Fractions = Annotated[Bounds, _within(0, 1)]
Count = Annotated[int, Field(ge=1)]
Layer = Annotated[int, Field(ge=0)]
_Span = Annotated[tuple[Layer, Layer, Layer], AfterValidator(_ordered)]
Scalar = Annotated[str | int | float | bool | None, BeforeValidator(_scalar)]
Rate = Annotated[float, Field(ge=0, le=1)]


def _closed_as_opened(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for opening, closed in pairs:
        if not opening.strip() or not closed.startswith(opening):
            raise ValueError("must hold pairs of an opening and the closed block in its place, which begins with it")
    return pairs


class Section(BaseModel):
    """The base of every section: unknown keys are refused, types are not converted, values are immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        # YAML has only one type of sequence; otherwise strict mode would refuse a list where a tuple is declared.
        return {key: _as_tuple(value) for key, value in data.items()} if isinstance(data, dict) else data


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


class Model(Section):
    """Section `model`: the model, the dtype it computes in, and whether all of it must be editable exactly."""

    source: Annotated[str, Field(min_length=1)]
    revision: str | None
    dtype: ComputeDtype
    quantization: Quantization
    allow_incomplete: bool


class Slices(Section):
    """The prompts of each split as slices `[a:b]` of the source, or `NAME[a:b]` of one of a data set's own splits."""

    train: _SliceText | None = None
    validation: _SliceText | None = None
    test: _SliceText | None = None


class PromptSource(Section):
    """A prompt set and how to read it; where only the source is given, params.yaml may hold the path alone."""

    source: Annotated[str, Field(min_length=1)]
    column: _Given | None = None
    reference: _Given | None = None
    config: _Given | None = None
    split: _Given | None = None
    revision: _Given | None = None
    prefix: str = ""
    suffix: str = ""
    system_prompt: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    slices: Slices | None = None

    @model_validator(mode="after")
    def _cut_in_one_way(self) -> Self:
        if self.seed is not None and self.slices is not None:
            raise ValueError("must not have both seed and slices: remove one")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A system prompt that is not given is that of section tokenize, and null is none.
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


def _form(value: Any) -> str:
    return "[mapping]" if isinstance(value, (dict, PromptSource)) else "[text]"


PromptsFrom = Annotated[
    Annotated[Annotated[str, Field(min_length=1)], Tag("[text]")] | Annotated[PromptSource, Tag("[mapping]")],
    Discriminator(_form),
]
"""A path, or how to read a prompt set."""


def source_of(prompts: str | PromptSource) -> PromptSource:
    """Return how to read a prompt set, also where params.yaml holds its path alone."""
    return PromptSource(source=prompts) if isinstance(prompts, str) else prompts


class Splits(Section):
    """Prompts per split, cut from the top of each source in this order."""

    train: Annotated[int, Field(ge=2)]
    validation: Count
    test: Count


class Tokenize(Section):
    """Section `tokenize`: the prompt sets, and how the chat template renders them."""

    target: PromptsFrom
    baseline: PromptsFrom
    splits: Splits
    system_prompt: str | None
    template: _Given | None
    response_prefix: str
    closed_thoughts: Annotated[tuple[tuple[str, str], ...], AfterValidator(_closed_as_opened)]
    long_prompts: LongPrompts
    template_arguments: dict[str, Scalar]
    today: Annotated[str, AfterValidator(_date)] | None  # in quotes: DVC refuses YAML's dates

    @field_validator("target", "baseline")
    @classmethod
    def _every_split_has_a_slice(cls, prompts: str | PromptSource) -> str | PromptSource:
        slices = source_of(prompts).slices
        if slices is not None and None in (slices.train, slices.validation, slices.test):
            raise ValueError("must have slices for train, validation and test")
        return prompts

    def system_prompt_of(self, source: PromptSource) -> str | None:
        """Return the system prompt of a prompt set: its own if it states one, otherwise that of the section."""
        return source.system_prompt if "system_prompt" in source.model_fields_set else self.system_prompt


class Residuals(Section):
    """Section `residuals`: the prompt tokens to read."""

    positions: Annotated[tuple[Annotated[int, Field(le=-1)], ...], Field(min_length=1), AfterValidator(_distinct)]


class Winsorize(Section):
    """The quantile of its absolute components at which each residual vector is clamped."""

    quantile: Annotated[float, Field(gt=0, le=1)]


class Directions(Section):
    """Section `directions`: from residuals to unit vectors."""

    winsorize: Winsorize
    center: CenterMethod
    orthogonalize: Orthogonalize


class FilterSection(Section):
    """Section `filter`: which training prompts the directions are computed from."""

    target: bool
    baseline: bool
    min_prompts: Count
    max_tokens: Count


class GeometrySection(Section):
    """Section `geometry`: how the directions are described."""

    projection: MapProjection
    map_prompts: Count
    silhouette_prompts: Annotated[int, Field(ge=2)]


class Classifier(Section):
    """A model that judges: what it reads, its label for the behaviour, and from which probability on that counts."""

    source: Annotated[str, Field(min_length=1)]
    revision: str | None
    label: Annotated[str, Field(min_length=1)] | Layer
    threshold: Annotated[float, Field(gt=0, le=1)]
    input: JudgeInput = "answer"


class Judge(Section):
    """Section `judge`: what counts as showing the behaviour; without a classifier, the markers alone."""

    markers: str
    classifier: Classifier | None


class KernelSpace(Section):
    """Bounds of one component's kernel."""

    max_weight: Bounds
    max_weight_position: Fractions
    min_weight: Fractions
    min_weight_distance: Fractions


class Space(Section):
    """Bounds of the values that a trial samples."""

    direction_scope: Annotated[tuple[Scope, ...], Field(min_length=1), AfterValidator(_distinct_scopes)]
    direction_index: Fractions
    spans: tuple[_Span, ...]
    attention: KernelSpace
    mlp: KernelSpace

    @field_validator("spans")
    @classmethod
    def _spans_given_when_asked(cls, spans: tuple[_Span, ...], info: ValidationInfo) -> tuple[_Span, ...]:
        if not spans and "spans" in info.data.get("direction_scope", ()):
            raise ValueError("must list at least one [source, first, last], because direction_scope names spans")
        ordered = sorted(spans, key=lambda span: span[1])
        for (_, _, last), (_, following, _) in pairwise(ordered):
            if following <= last:
                raise ValueError(f"must not overlap (layer {following} is in two spans)")
        return spans


class Optimize(Section):
    """Section `optimize`: the search over recipes."""

    trials: Count
    random_trials: Count
    batch: Count
    sampler: Sampler
    max_behaviour_rate: Rate
    max_kl: Annotated[float, Field(gt=0)] | None
    racing: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    norm_preservation: NormPreservation
    edit_bias: bool
    post_norm: PostNorm
    max_tokens: Count
    kl_tokens: Count
    space: Space


class Select(Section):
    """Section `select`: the trial that becomes the recipe."""

    max_behaviour_rate: Rate
    trial: Annotated[int, Field(ge=0)] | None


class Adapter(Section):
    """Section `adapter`: the edit as a low-rank adapter."""

    rank: Count | None


class CausalitySection(Section):
    """Section `causality`: which directions are tested for their effect, against how many controls."""

    directions: Count
    controls: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class Generate(Section):
    """Section `generate`: the length of the test responses."""

    max_tokens: Count
    kl_tokens: Count


class Score(Section):
    """Section `score`: how the final figures are stated."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    reference_ceiling: Rate | None


class Harness(Section):
    """Section `evaluate.harness`: how lm-evaluation-harness runs the benchmarks."""

    task_folder: str | None
    few_shot: Annotated[int, Field(ge=0)] | None
    limit: Count | None
    chat_template: bool


class ExtraSet(Section):
    """A named prompt set: its prompts, and markers of its own; without these, those of `judge.markers`."""

    prompts: PromptsFrom
    markers: Annotated[str, Field(min_length=1)] | None

    @field_validator("prompts")
    @classmethod
    def _all_is_tested(cls, prompts: str | PromptSource) -> str | PromptSource:
        source = source_of(prompts)
        if source.seed is not None:
            raise ValueError("must have no seed, since all of an extra set is tested")
        if source.slices is not None and source.slices.model_fields_set != {"test"}:
            raise ValueError("must have a slice for test alone, since an extra set is only tested")
        return prompts


class Evaluate(Section):
    """Section `evaluate`: what is measured besides the test prompts, and what a release must keep."""

    sets: dict[Annotated[str, AfterValidator(_set_name)], ExtraSet]
    gates: tuple[str, ...]
    benchmarks: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_distinct_tasks)]
    harness: Harness

    @field_validator("gates")
    @classmethod
    def _gates_name_figures(cls, gates: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for gate in gates if "sets" in info.data else ():
            try:
                check_gate_figure(parse_gate(gate).figure, info.data["sets"])
            except ValueError as error:
                raise ValueError(f"{error} in {gate!r}") from None
        return gates


class Report(Section):
    """Section `report`: text for the report and the model card."""

    behaviour: Annotated[str, Field(min_length=1)]


MemoryByDevice = dict[
    Annotated[int | str, BeforeValidator(_device_with_memory)], Annotated[int | str, BeforeValidator(_memory)]
]


class Runtime(Section):
    """Section `runtime`: how stages run; not tracked by DVC."""

    device: Annotated[str, AfterValidator(_device)]
    max_memory: MemoryByDevice | None
    offload_folder: Annotated[str, Field(min_length=1)]
    batch_tokens: Annotated[int | Literal["auto"], BeforeValidator(partial(_auto_or_at_least, 1))]
    threads: Annotated[int, Field(ge=0)]
    backend: BackendName | Literal["auto"]
    trials_at_once: Annotated[int, Field(ge=0)]
    workers: Annotated[int | str, BeforeValidator(workers_value)]
    gpus_per_worker: Annotated[int | Literal["auto"], BeforeValidator(partial(_auto_or_at_least, 0))]
    progress: Literal["auto", "bar", "lines", "none"]

    @field_validator("max_memory")
    @classmethod
    def _memory_needs_auto(cls, value: MemoryByDevice | None, info: ValidationInfo) -> MemoryByDevice | None:
        if value and info.data.get("device", "auto") != "auto":
            raise ValueError("must be null unless runtime.device is auto")
        return value


class Params(Section):
    """The whole of params.yaml."""

    model: Model
    tokenize: Tokenize
    residuals: Residuals
    filter: FilterSection
    directions: Directions
    geometry: GeometrySection
    judge: Judge
    optimize: Optimize
    select: Select
    adapter: Adapter
    causality: CausalitySection
    generate: Generate
    score: Score
    evaluate: Evaluate
    report: Report
    runtime: Runtime


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read params.yaml and validate all of it.

    Raises:
        UnwriteError: the file is missing, is not YAML, or breaks the schema. Each mistake is one line: the key, what
            it must be, and what it is; for an unknown key, the nearest known one.
    """
    data = _read_yaml(path)
    if not isinstance(data, dict):
        actual = "an empty file" if data is None else describe_value(data)
        raise UnwriteError(f"{path} must be a mapping with {', '.join(Params.model_fields)}, got {actual}.")
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise UnwriteError("\n".join(f"{path}: {line}" for line in describe_errors(error.errors(), Params))) from None


def _read_yaml(path: Path) -> Any:
    if not path.exists():
        raise UnwriteError(f"{path} is missing: run this in the project folder.")
    text = read_text(path)
    try:
        return load_yaml(text)
    except ValueError as error:
        raise UnwriteError(f"{path} is not valid YAML: {error}.") from None
