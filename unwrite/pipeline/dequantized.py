"""The plain checkpoint that stands for a GGUF file: made once in the project's local state, and again if missing."""

from __future__ import annotations

import logging
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.atomic import atomic_folder, check_free_space
from unwrite.files.hashing import digest_of, sha256_of, verify_files
from unwrite.files.records import write_json
from unwrite.models.folder import local_folder, parent_project
from unwrite.pipeline.lock import exclusive
from unwrite.schema.artifacts import Base, DequantizedFiles, GgufOrigin, as_json
from unwrite.schema.parsing import parse_record

STATE = Path(".unwrite/dequantized")
logger = logging.getLogger(__name__)


class Dequantized(NamedTuple):
    """A folder with the model of a GGUF file, and the file that it was made from."""

    folder: Path
    origin: GgufOrigin


def dequantized_folder(file: Path) -> Dequantized:
    """Return the plain checkpoint of a GGUF file, made if it is missing or is not as it was made.

    It lies in `.unwrite/dequantized/`, in a folder named after the file's sha256 and the version of transformers.

    Raises:
        UnwriteError: as in `gguf.dequantize`; or there is too little room; or another process makes it.
    """
    if not file.is_file():
        raise UnwriteError(f"{file} is missing: expected a GGUF file.")
    digest = digest_of(file)
    origin = GgufOrigin(**digest.model_dump(), transformers=version("transformers"))
    folder = _place(origin.sha256, origin.transformers)
    if not _is_as_made(folder):
        _remake(file, folder)
    return Dequantized(folder, origin)


def remade_folder(base: Base, origin: GgufOrigin) -> Path:
    """Return the folder of a model that was pinned from a GGUF file, made again if it is missing.

    Args:
        base: record of the pinned model.
        origin: the file that it was pinned from.

    Raises:
        UnwriteError: as in `dequantized_folder`; or the file is another one now; or the version of transformers is
            another one, and makes other files of it.
    """
    folder = _place(origin.sha256, origin.transformers)
    if all((folder / file.name).is_file() for file in base.files):
        return folder
    file = local_folder(base.source)
    if file.is_file() and (sha256 := sha256_of(file)) != origin.sha256:
        raise UnwriteError(
            f"{file} has sha256 {sha256[:12]}…, but the model was pinned from one with {origin.sha256[:12]}…. Restore "
            "the file, or run `dvc repro -f pin_model` to pin the model as it is now."
        )
    found = dequantized_folder(file)
    if found.origin.transformers != origin.transformers:
        try:
            verify_files(found.folder, base.files)
        except UnwriteError as error:
            raise UnwriteError(
                f"{error}\nIt was made by transformers {origin.transformers}, and this is {found.origin.transformers}."
            ) from None
    return found.folder


def _place(sha256: str, transformers: str) -> Path:
    return (parent_project() or Path()) / STATE / f"{sha256}-{transformers}"


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _is_as_made(folder: Path) -> bool:
    try:
        record = parse_record(DequantizedFiles, _record(folder).read_bytes(), str(folder))
        verify_files(folder, record.files)
    except (OSError, UnwriteError):
        return False
    return {file.name for file in record.files} == {path.name for path in folder.iterdir()}


def write_dequantized(file: Path, folder: Path) -> None:
    """Write the model in a GGUF file into a new folder, whole or not at all.

    Raises:
        UnwriteError: as in `gguf.dequantize`; or the folder exists; or there is too little room.
    """
    if folder.exists():
        raise UnwriteError(f"{folder} exists: name a new folder, or remove it.")
    _write(file, folder)


def _write(file: Path, folder: Path) -> None:
    from unwrite.models.gguf import dequantize
    from unwrite.models.gguf_header import read_gguf_header

    needed = read_gguf_header(file).dequantized_bytes
    check_free_space(folder, needed)
    logger.info("%s: dequantizing it into %s, up to %.0f MB.", file, folder, needed / 1e6)
    with atomic_folder(folder) as unfinished:
        dequantize(file, unfinished)


def _remake(file: Path, folder: Path) -> None:
    """Write a folder of the local state, and the record of its files next to it, while no other process does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock, owner = (folder.with_name(f"{folder.name}.{kind}") for kind in ("lock", "pid"))
    with exclusive(f"{file} is already being dequantized", lock, owner, str(os.getpid())):
        _record(folder).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)  # it is not as it was made
        _write(file, folder)
        files = [digest_of(path) for path in sorted(folder.iterdir())]
        write_json(_record(folder), as_json(DequantizedFiles(files=files)))
