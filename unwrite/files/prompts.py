"""Prompt sets and marker lists: read, cut into splits, and checked for prompts that occur twice."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard, TypeVar

from unwrite.core.markers import normalize_text
from unwrite.errors import UnwriteError
from unwrite.files.records import read_lines, read_numbered_jsonl

logger = logging.getLogger(__name__)

Name = TypeVar("Name", bound=str)
SplitT = TypeVar("SplitT", bound=str)

_BLANKS = "\u115f\u1160\u2800\u3164\uffa0\ufe0e\ufe0f"
"""Characters without ink that Unicode counts among letters, symbols and marks."""


class Prompt(NamedTuple):
    """A user message, and the answer that a model without the behaviour would give, if it is known."""

    text: str
    reference: str | None


def read_prompts(path: Path) -> list[Prompt]:
    """Read a .jsonl file ("prompt", optional "reference") or a .txt file (one prompt per line).

    Byte order marks inside a prompt, and lines of a .txt file without a visible character, are dropped with a count.

    Raises:
        UnwriteError: the file is missing, empty, not UTF-8 or of another type, or a line is not a prompt.
    """
    return [prompt for _, prompt in read_numbered_prompts(path)]


def read_numbered_prompts(path: Path) -> list[tuple[int, Prompt]]:
    """Read prompts as `read_prompts` does, each with the number of its line; errors as there."""
    if path.suffix == ".jsonl":
        rows = read_numbered_jsonl(path, required=["prompt"])
        prompts = [(number, _prompt(f"{path}, line {number}", row)) for number, row in rows]
    elif path.suffix == ".txt":
        lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
        prompts = [(number, Prompt(line.strip(), None)) for number, line in lines if _is_visible(line)]
        if invisible := len(lines) - len(prompts):
            logger.info(f"{path}: dropped {invisible} line(s) of invisible characters.")
    else:
        raise UnwriteError(f"{path} must end in .jsonl or .txt, got {path.suffix or 'no suffix'!r}.")
    if not prompts:
        raise UnwriteError(f"{path} holds no prompts. Add one per line.")
    return _without_marks(path, prompts)


def _without_marks(path: Path, prompts: Sequence[tuple[int, Prompt]]) -> list[tuple[int, Prompt]]:
    marks = sum(prompt.text.count("\ufeff") for _, prompt in prompts)
    if marks:
        logger.info(f"{path}: dropped {marks} byte order mark(s) inside prompts.")
    return [(number, prompt._replace(text=prompt.text.replace("\ufeff", "").strip())) for number, prompt in prompts]


def _prompt(location: str, row: Mapping[str, object]) -> Prompt:
    text, reference = row["prompt"], row.get("reference")
    if not _is_text(text) or not _is_visible(text):
        raise UnwriteError(f'{location}: "prompt" must be text, got {text!r:.60}.')
    if reference is not None and not (_is_text(reference) and normalize_text(reference)):
        raise UnwriteError(
            f'{location}: "reference" of {text[:60]!r} must be an answer or null, got {reference!r:.60}: '
            "no response could equal it."
        )
    return Prompt(text.strip(), reference)


def _is_visible(text: str) -> bool:
    return any(unicodedata.category(c)[0] not in "CZ" and c not in _BLANKS and not c.isspace() for c in text)


def _is_text(value: object) -> TypeGuard[str]:
    # JSON can escape half a character ("\ud83d"), which neither tokenizers nor UTF-8 accept.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def cut_splits(path: Path, prompts: Sequence[Prompt], sizes: Mapping[Name, int]) -> dict[Name, list[Prompt]]:
    """Cut consecutive splits of the given sizes from the top.

    Raises:
        UnwriteError: there are fewer prompts than the splits need.
    """
    needed = sum(sizes.values())
    if len(prompts) < needed:
        parts = " + ".join(f"{size} {name}" for name, size in sizes.items())
        raise UnwriteError(
            f"{path} holds {len(prompts)} prompts; tokenize.splits needs {needed} ({parts}). "
            f"Add {needed - len(prompts)} or lower the splits."
        )
    splits, start = {}, 0
    for name, size in sizes.items():
        splits[name] = list(prompts[start : start + size])
        start += size
    return splits


def check_no_shared_prompts(sets: Mapping[Name, Mapping[SplitT, Sequence[Prompt]]]) -> None:
    """Check that no prompt is in two splits, in both sets, or twice in one split: the figures would look too good.

    Prompts count as the same if they differ only in case, white space, Unicode form, width or invisible characters.

    Raises:
        UnwriteError: a prompt occurs twice; the message names both places.
    """
    seen: dict[str, str] = {}
    for set_name, splits in sets.items():
        for split_name, prompts in splits.items():
            location = f"{set_name} {split_name}"
            for prompt in prompts:
                key = _folded(prompt.text)
                if key in seen:
                    raise UnwriteError(
                        f"The prompt {prompt.text[:80]!r} is in {seen[key]} and again in {location}: keep one of them."
                    )
                seen[key] = location


def read_extra_set(path: Path, sets: Mapping[Name, Mapping[SplitT, Sequence[Prompt]]]) -> list[Prompt]:
    """Read a prompt set that is only tested: none of its prompts may be in a split, and none twice.

    Args:
        path: the file, as in `read_prompts`.
        sets: the splits of target and baseline prompts.

    Raises:
        UnwriteError: as in `read_prompts`, or a prompt is used already; the message names its line.
    """
    seen = {
        _folded(prompt.text): f"{set_name} {split_name}"
        for set_name, splits in sets.items()
        for split_name, prompts in splits.items()
        for prompt in prompts
    }
    rows = read_numbered_prompts(path)
    for number, prompt in rows:
        key = _folded(prompt.text)
        if key in seen:
            raise UnwriteError(
                f"{path}, line {number}: the prompt {prompt.text[:80]!r} is also in {seen[key]}. A prompt that is used "
                "already tests nothing new: remove the line."
            )
        seen[key] = f"line {number}"
    return [prompt for _, prompt in rows]


def _folded(text: str) -> str:
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())


def read_markers(path: Path) -> list[str]:
    """Read a marker list: one phrase per line; lines that begin with # are comments.

    Raises:
        UnwriteError: the file is missing, not UTF-8, or holds no marker; or every text would contain a marker, since
            nothing of it is left once normalized.
    """
    if not path.exists():
        raise UnwriteError(
            f"{path} is missing: write one phrase per line, or see what `unwrite markers --write {path}` proposes."
        )
    markers = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not normalize_text(line):
            raise UnwriteError(
                f"{path}, line {number}: the marker {line.strip()!r} is empty once normalized, so every response would "
                "contain it. Remove the line."
            )
        markers.append(line.strip())
    if not markers:
        raise UnwriteError(f"{path} holds no marker: nothing could count as showing the behaviour. Add one per line.")
    return markers
