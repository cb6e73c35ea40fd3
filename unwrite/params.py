"""The schema of params.yaml: one model a section, validated whole before anything runs."""

from __future__ import annotations

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from unwrite.errors import UnwriteError

PARAMS_FILE = Path("params.yaml")

Component = Literal["attention", "mlp"]
COMPONENTS: tuple[Component, ...] = ("attention", "mlp")


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the low bound {bounds[0]} is above the high bound {bounds[1]}")
    return bounds


def _within(low: float, high: float) -> AfterValidator:
    def check(bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] < low or bounds[1] > high:
            raise ValueError(f"bounds must lie within [{low}, {high}]")
        return bounds

    return AfterValidator(check)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise ValueError("expected auto, cpu, cuda, cuda:N or mps")
    return name


Bounds = Annotated[tuple[float, float], AfterValidator(_ascending)]
Fractions = Annotated[Bounds, _within(0, 1)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """What every section has in common: no unknown keys, no guessing of types, no change after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        # YAML has one kind of sequence; strict mode would otherwise refuse a list where a tuple is declared.
        return {key: _as_tuple(value) for key, value in data.items()} if isinstance(data, dict) else data


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


class Model(Section):
    """Section `model`: which model, at which revision, computing in which dtype."""

    source: Annotated[str, Field(min_length=1)]
    revision: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"]


class Splits(Section):
    """How many prompts each split takes, cut from the top of the file in this order."""

    train: Annotated[int, Field(ge=2)]
    validation: Count
    test: Count


class Tokenize(Section):
    """Section `tokenize`: the prompt sets and how the chat template renders them."""

    target: str
    baseline: str
    splits: Splits
    system_prompt: str | None
    response_prefix: str
    template_arguments: dict[str, str | int | float | bool | None]


class Residuals(Section):
    """Section `residuals`: which prompt tokens are read."""

    positions: Annotated[tuple[Annotated[int, Field(le=-1)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Residuals:
        if len(set(self.positions)) < len(self.positions):
            raise ValueError("a position is listed twice")
        return self


class Winsorize(Section):
    """The quantile of |components| at which each residual vector is clamped."""

    quantile: Annotated[float, Field(gt=0, le=1)]


class Directions(Section):
    """Section `directions`: from residuals to unit vectors."""

    winsorize: Winsorize
    center: Literal["mean", "geometric_median"]
    orthogonalize: Literal["none", "projected", "biprojected"]


class Judge(Section):
    """Section `judge`: what counts as showing the behaviour."""

    markers: str


class KernelSpace(Section):
    """Bounds of one component's kernel."""

    max_weight: Bounds
    max_weight_position: Fractions
    min_weight: Fractions
    min_weight_distance: Fractions


class Space(Section):
    """Bounds of everything a trial samples."""

    direction_scope: Annotated[tuple[Literal["global", "per_layer", "spans"], ...], Field(min_length=1)]
    direction_index: Fractions
    spans: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...]
    attention: KernelSpace
    mlp: KernelSpace

    @model_validator(mode="after")
    def _spans_given_when_asked(self) -> Space:
        if "spans" in self.direction_scope and not self.spans:
            raise ValueError("direction_scope names spans, but the list spans is empty")
        return self


class Optimize(Section):
    """Section `optimize`: the search over recipes."""

    trials: Count
    random_trials: Annotated[int, Field(ge=0)]
    batch: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    norm_preservation: Literal["none", "pre", "rows", "columns"]
    edit_bias: bool
    max_tokens: Count
    kl_tokens: Count
    space: Space


class Select(Section):
    """Section `select`: which trial becomes the recipe."""

    max_behaviour_rate: Rate
    trial: Annotated[int, Field(ge=0)] | None


class Generate(Section):
    """Section `generate`: how far the test responses go."""

    max_tokens: Count
    kl_tokens: Count


class Score(Section):
    """Section `score`: how the last figures are stated."""

    confidence: Annotated[float, Field(gt=0, lt=1)]
    reference_ceiling: Rate | None


class Report(Section):
    """Section `report`: words for people."""

    behaviour: Annotated[str, Field(min_length=1)]


class Runtime(Section):
    """Section `runtime`: how it runs, never what it makes; not tracked."""

    device: Annotated[str, AfterValidator(_device)]
    batch_tokens: Count
    threads: Annotated[int, Field(ge=0)]
    progress: Literal["auto", "bar", "lines", "none"]


class Params(Section):
    """The whole of params.yaml."""

    model: Model
    tokenize: Tokenize
    residuals: Residuals
    directions: Directions
    judge: Judge
    optimize: Optimize
    select: Select
    generate: Generate
    score: Score
    report: Report
    runtime: Runtime


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Reads and validates params.yaml whole.

    Raises:
        UnwriteError: The file is missing, is not YAML, or breaks the schema; every mistake is one line that says the
            path, what came, what is allowed and, for an unknown key, the nearest known one.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run this in the folder of the project.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UnwriteError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UnwriteError(f"{path} holds {_kind(data)}, expected the sections {', '.join(Params.model_fields)}.")
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise UnwriteError("\n".join(f"{path}: {_describe(detail)}" for detail in error.errors())) from None


def _describe(detail: ErrorDetails) -> str:
    location = [part for part in detail["loc"] if part != "tuple"]
    dotted = ".".join(map(str, location))
    if detail["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}."
        return f"unknown key {dotted}; {hint}"
    if detail["type"] == "missing":
        return f"{dotted} is missing."
    message = (
        detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ").replace("valid tuple", "list")
    )
    expected = message if detail["type"] == "value_error" else f"expected {message}"
    return f"{dotted} is {_kind(detail['input'])}; {expected}."


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"the list {list(value)}"
    return f"{value!r} (text)" if isinstance(value, str) else f"{value!r}"


def _known_keys(location: list[int | str]) -> list[str]:
    section: type[BaseModel] = Params
    for part in location:
        annotation: Any = section.model_fields[str(part)].annotation
        if typing.get_origin(annotation) is types.UnionType:
            annotation = typing.get_args(annotation)[0]
        section = annotation
    return list(section.model_fields)
