"""The curves of artifacts/plots/geometry.csv, as typed records."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.records import read_csv


class GeometryPoint(NamedTuple):
    """Figures about the direction at one position and residual index; `separation` may be infinite."""

    position: int
    residual_index: int
    auc: float
    separation: float
    cosine_to_previous: float


def read_geometry(path: Path) -> list[GeometryPoint]:
    """Read the curves, in the order of the file.

    Raises:
        UnwriteError: the file is missing or is not what `compute_directions` writes.
    """
    try:
        return [
            GeometryPoint(
                position=int(row["position"]),
                residual_index=int(row["residual_index"]),
                auc=float(row["auc"]),
                separation=float(row["separation"]),
                cosine_to_previous=float(row["cosine_to_previous"]),
            )
            for row in read_csv(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UnwriteError(
            f"{path} is damaged or of another version ({type(error).__name__}: {error}): "
            "run `dvc repro -f compute_directions`."
        ) from None
