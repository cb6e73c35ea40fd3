"""Read and write tokenized prompts: those of target and baseline by split, and the extra sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, write_jsonl
from unwrite.schema.paths import SET_TOKENS, TOKENS
from unwrite.terms import SETS, SplitName


class TokenizedPrompt(NamedTuple):
    """A prompt, its reference answer if known, its rendered text, and the token ids that the model receives.

    Of a conversation, `prompt` is every turn, as people read it. `system_prompt` is None where there is none.
    """

    prompt: str
    reference: str | None
    text: str
    tokens: list[int]
    system_prompt: str | None = None


def write_tokens(folder: Path, set_name: str, split: SplitName, prompts: Iterable[TokenizedPrompt]) -> None:
    """Write one split of one set into `folder`."""
    write_jsonl(folder / f"{set_name}.{split}.jsonl", (prompt._asdict() for prompt in prompts))


def read_tokens(set_name: str, split: SplitName) -> list[TokenizedPrompt]:
    """Read one split of one set.

    Raises:
        UnwriteError: the file is missing or damaged.
    """
    path = (TOKENS if set_name in SETS else SET_TOKENS) / f"{set_name}.{split}.jsonl"
    fields = TokenizedPrompt._fields
    needed = [field for field in fields if field not in TokenizedPrompt._field_defaults]
    rows = read_jsonl(path, required=needed)
    return [TokenizedPrompt(**{field: row[field] for field in fields if field in row}) for row in rows]


def prompt_sets() -> list[str]:
    """Return the names of the prompt sets with a test split: target, baseline, and the extra ones by name.

    Raises:
        UnwriteError: the extra sets have not been tokenized.
    """
    if not SET_TOKENS.is_dir():
        raise UnwriteError(f"{SET_TOKENS}/ is missing: run `dvc repro tokenize_sets` first.")
    return [*SETS, *sorted(path.name.removesuffix(".test.jsonl") for path in SET_TOKENS.glob("*.test.jsonl"))]
