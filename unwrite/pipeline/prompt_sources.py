"""Read the prompt sets that params.yaml names, wherever they are, and record where they came from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from unwrite.files.dataset_rows import dataset_rows
from unwrite.files.hashing import digest_of
from unwrite.files.prompt_rows import Row, file_rows
from unwrite.files.prompt_sets import Placed, cut_splits, read_all
from unwrite.files.prompts import Prompt, columns_of, prompts_of
from unwrite.models.dataset_source import resolve_dataset
from unwrite.models.source import ModelSource
from unwrite.schema.artifacts import FileDigest, PromptOrigin
from unwrite.schema.params import PromptSource, Tokenize, source_of
from unwrite.terms import SETS, SPLITS, SplitName

logger = logging.getLogger(__name__)


class ReadSet(NamedTuple):
    """A prompt set: its prompts by split, each with its place in the source; where it came from; what ends each."""

    splits: dict[SplitName, list[Placed]]
    origin: PromptOrigin
    suffix: str = ""

    def prompts(self) -> dict[SplitName, list[Prompt]]:
        """Return the prompts of each split."""
        return {split: [prompt for _, prompt in placed] for split, placed in self.splits.items()}


def read_sets(tokenize: Tokenize) -> dict[str, ReadSet]:
    """Read target and baseline prompts, cut into their splits.

    Raises:
        UnwriteError: a source cannot be read, or holds too few prompts.
    """
    sizes: dict[SplitName, int] = {split: getattr(tokenize.splits, split) for split in SPLITS}

    def cut(source: PromptSource, read: Callable[[str | None], Iterator[Placed]], dropped: Counter[str]) -> _Cut:
        return cut_splits(source, read, sizes, dropped)

    return {name: _read(getattr(tokenize, name), tokenize, f"tokenize.{name}", cut) for name in SETS}


def read_extra_set(name: str, prompts: str | PromptSource, tokenize: Tokenize) -> ReadSet:
    """Read a prompt set that is only tested, so all of it is one split.

    Raises:
        UnwriteError: the source cannot be read, or holds no prompts.
    """

    def whole(source: PromptSource, read: Callable[[str | None], Iterator[Placed]], dropped: Counter[str]) -> _Cut:
        return {"test": read_all(source, read, dropped)}

    return _read(prompts, tokenize, f"evaluate.sets.{name}.prompts", whole)


_Cut = dict[SplitName, list[Placed]]


def _read(
    prompts: str | PromptSource,
    tokenize: Tokenize,
    key: str,
    cut: Callable[[PromptSource, Callable[[str | None], Iterator[Placed]], Counter[str]], _Cut],
) -> ReadSet:
    source = source_of(prompts)
    located = resolve_dataset(source.source, source.revision, key)
    system_prompt, dropped = tokenize.system_prompt_of(source), Counter[str]()

    def read(own_split: str | None) -> Iterator[Placed]:
        return prompts_of(_rows(located.folder, source, own_split, dropped), source, system_prompt, dropped)

    splits = cut(source, read, dropped)
    for what, count in dropped.items():
        if count:
            logger.info(f"{source.source}: dropped {count} {what}.")
    return ReadSet(splits, _origin(source, located, system_prompt, splits, dropped), source.suffix)


def _rows(path: Path, source: PromptSource, own_split: str | None, dropped: Counter[str]) -> Iterator[Row]:
    columns = columns_of(source)
    if path.is_dir():
        return dataset_rows(path, source.source, source.config, own_split, columns)
    return file_rows(path, source.source, columns, dropped)


def _origin(
    source: PromptSource,
    located: ModelSource,
    system_prompt: str | None,
    splits: Mapping[SplitName, list[Placed]],
    dropped: Mapping[str, int],
) -> PromptOrigin:
    return PromptOrigin(
        source=source.source,
        commit=located.commit,
        config=source.config,
        system_prompt=system_prompt,
        prompts={split: len(placed) for split, placed in splits.items()},
        dropped={what: count for what, count in dropped.items() if count},
        files=_files(located),
        sha256=_sha256(prompt for placed in splits.values() for _, prompt in placed),
    )


def _files(located: ModelSource) -> list[FileDigest]:
    """Return the digests of a local source; the files of a hub id are those of its commit."""
    if located.commit is not None:
        return []
    path = located.folder
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [digest_of(file, file.relative_to(path).as_posix() if path.is_dir() else None) for file in files]


def _sha256(prompts: Iterator[Prompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json.dumps(prompt, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
