"""The rows of a data set's folder, read by the library `datasets`; neither pickles nor scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from unwrite.errors import UnwriteError, missing_package, reason_of
from unwrite.files.prompt_rows import Columns, Row, file_rows

_CAN_RUN_CODE = {".py", ".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz"}
_SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` leaves in a folder."""


def dataset_rows(folder: Path, name: str, config: str | None, split: str | None, columns: Columns) -> Iterator[Row]:
    """Yield the rows of one split of a data set: a folder of data files, or one that `save_to_disk` wrote.

    Args:
        folder: the folder.
        name: the data set in messages.
        config: which of several subsets.
        split: which of several splits.
        columns: the columns that are wanted.

    Raises:
        UnwriteError: the folder holds a script or a pickle, is no data set, has no such subset, split or column, or
            several of which none is named.
    """
    _refuse_code(folder, name)
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise missing_package(name, error) from None
    files: Mapping[str, Sequence[str]] = {}
    with _datasets_errors(name):
        if any((folder / file).is_file() for file in _SAVED):
            loaded = datasets.load_from_disk(str(folder))
        else:
            builder = datasets.load_dataset_builder(str(folder), name=config)
            loaded, files = builder.as_streaming_dataset(), builder.config.data_files or {}
    place = name if split is None else f"{name} ({split})"
    of_split = _name_of_split(loaded, name, split)
    of_parquet = [Path(file) for file in files.get(of_split or "", ())]
    if of_parquet and all(file.suffix == ".parquet" for file in of_parquet):  # the library holds whole row groups
        numbers = count(1)
        for file in of_parquet:
            for row in file_rows(file, place, columns, Counter()):
                yield Row(f"{place}, row {next(numbers)}", row.value)
        return
    rows = loaded if of_split is None else loaded[of_split]
    if rows.column_names is not None:
        rows = rows.select_columns(columns.wanted(rows.column_names, place))
    with _datasets_errors(name):
        iterator = iter(rows)
        try:
            for number, row in enumerate(iterator, 1):
                yield Row(f"{place}, row {number}", row)
        finally:
            iterator.close()  # and with it the file that is read


def _name_of_split(loaded: Any, name: str, split: str | None) -> str | None:
    """Return which split is read; None for a data set without splits."""
    if not isinstance(loaded, dict):
        if split is None:
            return None
        raise UnwriteError(f"{name} has no splits, so `split` must be null, got {split!r}.")
    if split is None and len(loaded) == 1:
        return str(next(iter(loaded)))
    if split not in loaded:
        wrong = "" if split is None else f", not {split!r}"
        raise UnwriteError(
            f"{name} has the splits {', '.join(loaded)}{wrong}: name one with `split` in params.yaml (or --split)."
        )
    return split


def _refuse_code(folder: Path, name: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _CAN_RUN_CODE:
            raise UnwriteError(
                f"{name} holds {path.relative_to(folder)}, which can run code when a data set is read. "
                "Save the data as Parquet, JSON or CSV in a folder without it, or name the data file itself."
            )


@contextmanager
def _datasets_errors(name: str) -> Iterator[None]:
    import pyarrow
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, pyarrow.ArrowException, ValueError, OSError) as error:
        raise UnwriteError(f"{name} cannot be read as a data set ({reason_of(error)}).") from error
