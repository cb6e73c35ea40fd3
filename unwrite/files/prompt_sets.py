"""Prompt sets: cut into splits, without repetitions, and checked for prompts that are used twice."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from unwrite.errors import UnwriteError
from unwrite.files.dataset_rows import dataset_rows
from unwrite.files.prompt_rows import file_rows
from unwrite.files.prompts import Prompt, columns_of, prompts_of, without_repetitions
from unwrite.schema.params import SLICE, PromptSource

_Name = TypeVar("_Name", bound=str)
_Split = TypeVar("_Split", bound=str)
Placed = tuple[str, Prompt]
"""A prompt with its place in the source, such as "x.csv, line 3"."""
ReadSplit = Callable[[str | None], Iterator[Placed]]
"""Reads the prompts of one of the source's own splits; None: of its only one."""

_LISTED = 5
"""Prompts that a message lists."""


class _Slice(NamedTuple):
    """The prompts from `start` up to, not including, `stop` (None: the last) of one of the source's own splits."""

    own_split: str | None
    start: int
    stop: int | None


def cut_splits(
    source: PromptSource, read: ReadSplit, sizes: Mapping[_Name, int], dropped: Counter[str]
) -> dict[_Name, list[Placed]]:
    """Cut splits: from the top in order, in a random order by seed, or as slices say. Nothing further is read.

    Args:
        source: how to cut.
        read: reads the source.
        sizes: prompts per split, where no slices are given.
        dropped: repeated prompts are counted here.

    Raises:
        UnwriteError: there are fewer prompts than the splits need.
    """
    if source.slices is not None:
        return _sliced(source, read, sizes, dropped)
    needed = sum(sizes.values())
    if source.seed is None:
        prompts = list(islice(without_repetitions(read(source.split), dropped), needed))
    else:
        prompts = _sampled(read(source.split), needed, source.seed, dropped)
    if len(prompts) < needed:
        parts = " + ".join(f"{size} {name}" for name, size in sizes.items())
        raise UnwriteError(
            f"{source.source} holds {len(prompts)} prompts; tokenize.splits needs {needed} ({parts}). "
            f"Add {needed - len(prompts)} or lower the splits."
        )
    following = iter(prompts)
    return {name: list(islice(following, size)) for name, size in sizes.items()}


def read_all(source: PromptSource, read: ReadSplit, dropped: Counter[str]) -> list[Placed]:
    """ReadSplit the prompts of an extra set: all of them, or its slice.

    Raises:
        UnwriteError: there are none.
    """
    if source.slices is not None:
        return _sliced(source, read, ["test"], dropped)["test"]
    prompts = list(without_repetitions(read(source.split), dropped))
    if not prompts:
        raise UnwriteError(f"{source.source} holds no prompts. Add some, or remove the set.")
    return prompts


def read_local_prompts(source: PromptSource) -> list[Prompt]:
    """Read all prompts of a local file or data set.

    Raises:
        UnwriteError: it is missing, damaged, of another type, lacks the column or split, or holds no prompts.
    """
    path, columns, dropped = Path(source.source), columns_of(source), Counter[str]()
    if path.is_dir():
        rows = dataset_rows(path, source.source, source.config, source.split, columns)
    else:
        rows = file_rows(path, source.source, columns, dropped)
    return [prompt for _, prompt in read_all(source, lambda _: prompts_of(rows, source, None, dropped), dropped)]


def _sliced(
    source: PromptSource, read: ReadSplit, names: Iterable[_Name], dropped: Counter[str]
) -> dict[_Name, list[Placed]]:
    slices = {name: _slice(source, name) for name in names}
    ends: dict[str | None, int | None] = {}
    for own_split, _, stop in slices.values():
        known = ends.get(own_split, 0)
        ends[own_split] = None if known is None or stop is None else max(known, stop)
    cut: dict[_Name, list[Placed]] = {name: [] for name in slices}
    counts = dict.fromkeys(ends, 0)
    for own, end in ends.items():
        of_own = {name: cut_at for name, cut_at in slices.items() if cut_at.own_split == own}
        for number, placed in enumerate(islice(without_repetitions(read(own), dropped), end)):
            counts[own] = number + 1
            for name, (_, start, stop) in of_own.items():
                if start <= number and (stop is None or number < stop):
                    cut[name].append(placed)
    for name, (own, start, stop) in slices.items():
        if not cut[name] or (stop is not None and len(cut[name]) < stop - start):
            where = source.source if own is None else f"{source.source} ({own})"
            raise UnwriteError(
                f"{where} holds {counts[own]} prompts, fewer than the slice {getattr(source.slices, name)!r} of "
                f"{name} needs. Change the slice."
            )
    return cut


def _slice(source: PromptSource, name: str) -> _Slice:
    found = SLICE.fullmatch(getattr(source.slices, name))
    assert found is not None, "params.yaml was validated"
    stop = int(found["stop"]) if found["stop"] else None
    return _Slice(found["split"] or source.split, int(found["start"] or 0), stop)


def _sampled(prompts: Iterator[Placed], needed: int, seed: int, dropped: Counter[str]) -> list[Placed]:
    """Return the prompts that come first in an order by seed: that of a keyed hash of each, so that none is read twice.

    A repeated prompt has the same hash. Those of prompts that are left out are not counted.
    """
    heap: list[tuple[int, int]] = []  # of the kept prompts: minus the rank, and their number
    kept: dict[int, tuple[Placed, int]] = {}  # rank: the prompt, and how often it was repeated
    for number, placed in enumerate(prompts):
        digest = blake2b(placed[1].key, digest_size=8, key=str(seed).encode()).digest()
        rank = int.from_bytes(digest)
        if rank in kept:
            kept[rank] = (kept[rank][0], kept[rank][1] + 1)
        elif len(heap) < needed:
            kept[rank] = (placed, 0)
            heapq.heappush(heap, (-rank, number))
        elif heap and rank < -heap[0][0]:
            kept[rank] = (placed, 0)
            del kept[-heapq.heapreplace(heap, (-rank, number))[0]]
    dropped["prompt(s) that repeat an earlier one"] += sum(count for _, count in kept.values())
    return [kept[rank][0] for rank in sorted(kept)]


def check_no_shared_prompts(sets: Mapping[_Name, Mapping[_Split, Sequence[Prompt]]]) -> dict[bytes, str]:
    """Check that no prompt is in two splits or in both sets: the figures would look too good.

    Prompts count as the same if they differ only in case, white space, Unicode form, width or invisible characters;
    with different system prompts they differ.

    Returns:
        The place of each prompt, such as "target train", by its key.

    Raises:
        UnwriteError: prompts occur twice; the message lists them with both places.
    """
    seen: dict[bytes, str] = {}
    twice = []
    for set_name, splits in sets.items():
        for split_name, prompts in splits.items():
            for prompt in prompts:
                place = f"{set_name} {split_name}"
                first = seen.setdefault(prompt.key, place)
                if first is not place:
                    twice.append(f"The prompt {prompt.shown[:80]!r} is in {first} and again in {place}")
    refuse_listed(twice, "Keep one of each, or give the sets different system prompts.")
    return seen


def check_new_prompts(prompts: Iterable[Placed], used: Mapping[bytes, str]) -> None:
    """Check that no prompt of an extra set is in a split.

    Args:
        prompts: the prompts with their places.
        used: where each prompt of the splits is, by its key.

    Raises:
        UnwriteError: prompts are used already; the message lists them.
    """
    again = [
        f"{place}: the prompt {prompt.shown[:80]!r} is also in {used[prompt.key]}"
        for place, prompt in prompts
        if prompt.key in used
    ]
    refuse_listed(again, "A prompt that is used already tests nothing new: remove it.")


def refuse_listed(problems: Sequence[str], remedy: str) -> None:
    """Raise an error that lists the first problems, if there are any.

    Raises:
        UnwriteError: there is a problem.
    """
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        raise UnwriteError(f"{'; '.join(problems[:_LISTED])}{more}. {remedy}")
