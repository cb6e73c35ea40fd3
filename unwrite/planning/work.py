"""The work of a project: its prompts and their lengths, from what is tokenized already or from params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.params import Params
from unwrite.schema.paths import SET_TOKENS, TOKENS
from unwrite.terms import SETS, SPLITS, SplitName

ASSUMED_LENGTH = 64
"""Tokens of a prompt that is not tokenized yet, chat template included."""


class Work(NamedTuple):
    """The tokens of each prompt, by set and split, and whether they are known or assumed."""

    lengths: Mapping[tuple[str, SplitName], list[int]]
    known: bool

    def of(self, *splits: SplitName) -> list[int]:
        """Return the lengths of the prompts of both sets in some splits."""
        return [length for name in SETS for split in splits for length in self.lengths[name, split]]

    def extra(self) -> list[int]:
        """Return the lengths of the prompts of extra sets."""
        return [length for (name, _), lengths in self.lengths.items() if name not in SETS for length in lengths]


def read_work(params: Params) -> Work:
    """Return the work of the project in the current folder.

    Raises:
        UnwriteError: a file of tokens is damaged.
    """
    known = all((TOKENS / f"{name}.{split}.jsonl").is_file() for name in SETS for split in SPLITS)
    lengths: dict[tuple[str, SplitName], list[int]] = {}
    for name in SETS:
        for split in SPLITS:
            count = getattr(params.tokenize.splits, split)
            rows = [len(row.tokens) for row in read_tokens(name, split)] if known else [ASSUMED_LENGTH] * count
            lengths[name, split] = rows
    for extra in params.evaluate.sets:
        if (SET_TOKENS / f"{extra}.test.jsonl").is_file():
            lengths[extra, "test"] = [len(row.tokens) for row in read_tokens(extra, "test")]
    return Work(lengths, known)
