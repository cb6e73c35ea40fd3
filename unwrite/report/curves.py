"""The curves of artifacts/plots/geometry.csv and the maps of artifacts/residual_map.csv, as typed records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from unwrite.errors import UnwriteError
from unwrite.files.records import read_csv
from unwrite.schema.geometry_records import GEOMETRY_FIGURES

T = TypeVar("T")


class GeometryRow(NamedTuple):
    """Every figure at one position and residual index, by the name of its column; NaN where there is none."""

    position: int
    residual_index: int
    figures: dict[str, float]


class MappedPrompt(NamedTuple):
    """One prompt on the map of one position and residual index."""

    position: int
    residual_index: int
    set: str
    split: str
    prompt: int
    x: float
    y: float


def read_geometry_rows(path: Path) -> list[GeometryRow]:
    """Read every figure, in the order of the file.

    Raises:
        UnwriteError: the file is missing or is not what `measure_geometry` writes.
    """

    def parse(row: Mapping[str, str]) -> GeometryRow:
        figures = {name: float(row[name] or math.nan) for name in GEOMETRY_FIGURES}
        return GeometryRow(int(row["position"]), int(row["residual_index"]), figures)

    return _read(path, parse)


def read_residual_map(path: Path) -> list[MappedPrompt]:
    """Read the maps, in the order of the file; errors as in `read_geometry_rows`."""

    def parse(row: Mapping[str, str]) -> MappedPrompt:
        position, index, prompt = (int(row[name]) for name in ("position", "residual_index", "prompt"))
        return MappedPrompt(position, index, row["set"], row["split"], prompt, float(row["x"]), float(row["y"]))

    return _read(path, parse)


def _read(path: Path, parse: Callable[[Mapping[str, str]], T]) -> list[T]:
    try:
        return [parse(row) for row in read_csv(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UnwriteError(
            f"{path} is damaged or of another version ({type(error).__name__}: {error}): "
            "run `dvc repro -f measure_geometry`."
        ) from None
