"""How a manifest names the base of a release: a hub id with its commit, a folder, or a GGUF file with its sha256."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.schema.artifacts import Base

SOURCE_KEYS = ("source", "commit")
GGUF_KEYS = ("gguf_sha256", "transformers")
"""What is stated besides of a base that was dequantized from a GGUF file."""


def stated_base(base: Base) -> dict[str, str | None]:
    """Return what a manifest states of the base.

    Of a local folder or file only the name is stated: its path would reveal whose machine it was.
    """
    name = base.source if base.commit is not None else Path(base.source).resolve().name
    stated = {"source": name, "commit": base.commit}
    if base.gguf is None:
        return stated
    return {**stated, "gguf_sha256": base.gguf.sha256, "transformers": base.gguf.transformers}


def base_text(stated: Mapping[str, str | None]) -> str:
    """Return the base that a manifest states, in words."""
    source, commit = (stated.get(key) for key in SOURCE_KEYS)
    if commit:
        return f"{source} at {commit[:12]}"
    sha256, version = (stated.get(key) for key in GGUF_KEYS)
    if sha256:
        return f"{source}, a GGUF file (sha256 {sha256[:12]}…) dequantized by transformers {version}"
    return f"{source}, a local folder"


def refuse_other_gguf(file: Path, stated: Mapping[str, str | None]) -> None:
    """Refuse a GGUF file that is not the one that a manifest states; any passes where it states none.

    Raises:
        UnwriteError: it has another sha256.
    """
    expected = stated.get("gguf_sha256")
    if expected and (actual := sha256_of(file)) != expected:
        raise UnwriteError(
            f"{file} has sha256 {actual[:12]}…, but the release was made from a GGUF file with {expected[:12]}…. Name "
            "that file, or a folder that was dequantized from it."
        )
