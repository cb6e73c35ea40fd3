"""artifacts/plots/edit_size.csv, as typed records: how much each edited tensor changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.records import read_csv
from unwrite.schema.artifacts import Edit, biases_of
from unwrite.terms import Component


class TensorSize(NamedTuple):
    """The edit of one tensor: ‖W‖, ‖ΔW‖ and their ratio, and the writer that it belongs to."""

    tensor: str
    layer: int
    component: Component
    bias: bool
    norm: float
    change: float
    relative: float


def read_edit_sizes(path: Path, edits: Iterable[Edit]) -> list[TensorSize]:
    """Read the sizes, in the order of the file.

    Args:
        path: the file.
        edits: the edits of the recipe, which say which tensor is of which writer.

    Raises:
        UnwriteError: the file is missing, is not what `merge_model` writes, or is of another recipe.
    """
    owners: dict[str, tuple[int, Component, bool]] = {}
    for edit in edits:
        for layout, bias in ((edit.matrix, False), *((one.layout, True) for one in biases_of(edit))):
            owners |= {stored.tensor: (edit.layer, edit.component, bias) for stored in layout.stored}
    try:
        return [
            TensorSize(
                row["tensor"], *owners[row["tensor"]], float(row["norm"]), float(row["change"]), float(row["relative"])
            )
            for row in read_csv(path)
        ]
    except (KeyError, ValueError) as error:
        raise UnwriteError(
            f"{path} is damaged or of another recipe ({type(error).__name__}: {error}): run `dvc repro -f merge_model`."
        ) from None
