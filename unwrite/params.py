"""The schema of params.yaml: one model a section, validated whole before anything runs."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from unwrite.errors import UnwriteError

PARAMS_FILE = Path("params.yaml")
Place = tuple[int | str, ...]  # keys and list indices from the top of the file

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


def _distinct(positions: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(positions)) < len(positions):
        raise ValueError("a position is listed twice")
    return positions


def _ordered(span: tuple[int, int, int]) -> tuple[int, int, int]:
    if span[1] > span[2]:
        raise ValueError(f"the first layer {span[1]} is above the last layer {span[2]}")
    return span


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float, type(None))) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("expected text, a finite number, true, false or null")
    return value


Bounds = Annotated[tuple[float, float], AfterValidator(_ascending)]
Fractions = Annotated[Bounds, _within(0, 1)]
Count = Annotated[int, Field(ge=1)]
Layer = Annotated[int, Field(ge=0)]
Span = Annotated[tuple[Layer, Layer, Layer], AfterValidator(_ordered)]
Scalar = Annotated[str | int | float | bool | None, BeforeValidator(_scalar)]
Rate = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """What every section has in common: no unknown keys, no guessing of types, no change after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

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
    template_arguments: dict[str, Scalar]


class Residuals(Section):
    """Section `residuals`: which prompt tokens are read."""

    positions: Annotated[tuple[Annotated[int, Field(le=-1)], ...], Field(min_length=1), AfterValidator(_distinct)]


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
    spans: tuple[Span, ...]
    attention: KernelSpace
    mlp: KernelSpace

    @field_validator("spans")
    @classmethod
    def _spans_given_when_asked(cls, spans: tuple[Span, ...], info: ValidationInfo) -> tuple[Span, ...]:
        if not spans and "spans" in info.data.get("direction_scope", ()):
            raise ValueError("direction_scope names spans: expected at least one [source, first, last] layer")
        return spans


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
    data = _read_yaml(path)
    if not isinstance(data, dict):
        came = "is empty" if data is None else f"holds {_kind(data)}"
        raise UnwriteError(f"{path} {came}; expected the sections {', '.join(Params.model_fields)}.")
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise UnwriteError("\n".join(f"{path}: {line}" for line in _describe(error.errors()))) from None


def _read_yaml(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UnwriteError(f"{path} is missing: run this in the folder of the project.") from None
    except OSError as error:
        raise UnwriteError(f"{path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UnwriteError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UnwriteError(f"{path} is not valid YAML: {where}{error.problem}.") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise UnwriteError(f"{path} is not valid YAML: {str(error).splitlines()[0]}.") from None


# What is allowed, by pydantic's name of the error; the braces are filled from the error's context.
_EXPECTED = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "dict_type": "a mapping",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number under {lt}",
    "less_than_equal": "a number of at most {le}",
}


def _describe(errors: Sequence[ErrorDetails]) -> list[str]:
    """One line a mistake."""
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    misspelt: set[Place] = set()
    lines: dict[Place, str] = {}
    for error in errors:
        place = tuple(part for part in error["loc"] if part != "[key]")
        if error["type"] in {"extra_forbidden", "invalid_key"}:
            near = difflib.get_close_matches(str(place[-1]), _known_keys(place[:-1]), n=1)
            hint = f"known keys: {', '.join(_known_keys(place[:-1]))}."
            if near:
                meant = (*place[:-1], near[0])
                misspelt.add(meant)
                hint = f"did you mean {_dotted(meant)}?"
            lines[place] = f"unknown key {_dotted(place)}; {hint}"
        elif place not in missing:
            lines[place] = f"{_dotted(place)} is {_kind(error['input'])}; {_expectation(error)}."
        elif isinstance(item := place[-1], int):
            lines[place[:-1]] = f"{_dotted(place[:-1])} is {_kind(error['input'])}; expected {item + 1} in the list."
        else:
            lines[place] = f"{_dotted(place)} is missing; every key must be given."
    # pydantic also calls the right name of a misspelt key missing, and a list with a wrong item too short.
    for place in list(lines):
        if place in missing & misspelt or any(place == other[: len(place)] != other for other in lines):
            del lines[place]
    return list(lines.values())


def _expectation(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "model_type":
        return f"expected a mapping with {', '.join(_known_keys(error['loc']))}"
    expected = "expected " + _EXPECTED.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
    in_quotes = error["type"] == "string_type" and not isinstance(error["input"], (dict, tuple, type(None)))
    return f"{expected}: put it in quotes" if in_quotes else expected


def _known_keys(place: Place) -> list[str]:
    section: Any = Params
    for part in place:
        section = section.model_fields[str(part)].annotation
    return list(section.model_fields)


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"the list {_shortened(str(list(value)))}"
    return f"{_shortened(repr(value))} (text)" if isinstance(value, str) else _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
