"""Whether records have the bytes that unwrite writes for their values: white space between them could hold anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import INDEX_FILE
from unwrite.files.records import json_text
from unwrite.release.statement import Manifest
from unwrite.release.untrusted import is_plain_file
from unwrite.schema.artifacts import Recipe
from unwrite.schema.evaluation import Evaluation
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import EVALUATION, MANIFEST, RECIPE
from unwrite.schema.strict_json import strict_json

_ALWAYS = {"format", "type", "predicate_type"}
"""Fields that have a default, and that unwrite always writes: without them, other readers cannot tell the kind."""
_RECORDS: dict[str, type[BaseModel]] = {MANIFEST: Manifest, RECIPE.name: Recipe, EVALUATION.name: Evaluation}


def other_forms(release: Path, manifest: Manifest) -> Iterator[str]:
    """Yield the records of a release that are not written as unwrite writes their values.

    Records that cannot be read are left to the checks that read them, and an index that is the base's to the base.
    """
    own_index = all(one.name != INDEX_FILE for one in manifest.dependencies("base"))
    for name in (*_RECORDS, *([INDEX_FILE] if own_index else [])):
        if is_plain_file(release, name) and not _has_own_form(name, (release / name).read_bytes()):
            yield f"{name} is not written as unwrite writes it (white space, order of keys, or form of a value)"


def _has_own_form(name: str, data: bytes) -> bool:
    """Return whether a record has the form that unwrite writes; also if it is none."""
    try:
        return json_text(_values(name, data)).encode(errors="replace") == data
    except (UnwriteError, ValueError, RecursionError):
        return True


def _values(name: str, data: bytes) -> Any:
    """Return the values of a record, in the order of its fields as far as it has any."""
    if name not in _RECORDS:
        return strict_json(data)
    record = parse_record(_RECORDS[name], data, name)
    always = {field: getattr(record, field) for field in _ALWAYS if hasattr(record, field)}
    return record.model_copy(update=always).model_dump(mode="json", by_alias=True, exclude_unset=True)
