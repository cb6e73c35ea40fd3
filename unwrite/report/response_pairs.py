"""The responses of both models to the same prompts, with their verdicts, in the order that a reader wants them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, read_lines
from unwrite.schema.evaluation import Verdict
from unwrite.schema.parsing import parse_record
from unwrite.terms import SETS


class JudgedResponse(NamedTuple):
    """A response and the verdict on it; None where responses are stored without one."""

    text: str
    verdict: Verdict | None


class ResponsePair(NamedTuple):
    """One prompt of a set, by its number from 1, both responses, and the reference if there is one."""

    prompts: str
    number: int
    prompt: str
    reference: str | None
    base: JudgedResponse
    edited: JudgedResponse

    @property
    def tags(self) -> list[str]:
        """What a reader may look for: see `TAGS`."""
        base, edited = self.base.verdict, self.edited.verdict
        if base is None or edited is None:
            return []
        found = {
            "removed": base.shown and not edited.shown,
            "appeared": edited.shown and not base.shown,
            "remained": base.shown and edited.shown,
            "degenerate": edited.degenerate is not None,
            "gained": edited.correct is True and base.correct is False,
            "lost": base.correct is True and edited.correct is False,
        }
        return [tag for tag in TAGS if found[tag]]


TAGS = {
    "removed": "behaviour removed",
    "appeared": "behaviour appeared",
    "remained": "behaviour remained",
    "degenerate": "degenerate after the edit",
    "gained": "reference right only after the edit",
    "lost": "reference right only before the edit",
}
_ORDER = ("appeared", "remained", "removed", "degenerate", "lost", "gained")


def response_sets(folder: Path) -> list[str]:
    """Return the names of the prompt sets with responses in a folder: target, baseline, then the others by name."""
    found = {path.name.removeprefix("base.").removesuffix(".jsonl") for path in folder.glob("base.*.jsonl")}
    return [*(name for name in SETS if name in found), *sorted(found - set(SETS))]


def read_pairs(responses: Path, verdicts: Path | None) -> list[ResponsePair]:
    """Read every pair of responses, set by set, in the order of the files.

    Args:
        responses: the folder of the responses.
        verdicts: the folder of the verdicts; None shows the responses without.

    Raises:
        UnwriteError: there are no responses, a file is damaged, or the files of a set do not belong together.
    """
    names = response_sets(responses)
    if not names:
        raise UnwriteError(f"{responses} holds no responses: run `dvc repro generate_responses`.")
    pairs = []
    for name in names:
        base, edited = (_rows(responses / f"{model}.{name}.jsonl") for model in ("base", "edited"))
        judged = [
            [None] * len(base) if verdicts is None else _verdicts(verdicts / f"{model}.{name}.jsonl", len(base))
            for model in ("base", "edited")
        ]
        if [row["prompt"] for row in base] != [row["prompt"] for row in edited]:
            raise UnwriteError(
                f"{responses}: the models answer different {name} prompts. Run `dvc repro -f generate_responses`."
            )
        for number, (one, other, before, after) in enumerate(zip(base, edited, *judged, strict=True), 1):
            answers = JudgedResponse(one["response"], before), JudgedResponse(other["response"], after)
            pairs.append(ResponsePair(name, number, one["prompt"], one.get("reference"), *answers))
    return pairs


def changed_first(pairs: Iterable[ResponsePair]) -> list[ResponsePair]:
    """Return pairs in the order of what needs a look: side effects and failures, then changes, then the rest.

    Pairs of a kind stay in their order.
    """

    def rank(pair: ResponsePair) -> int:
        tags = pair.tags
        return min((_ORDER.index(tag) for tag in tags), default=len(_ORDER))

    return sorted(pairs, key=rank)


def tag_counts(pairs: Sequence[ResponsePair]) -> dict[str, int]:
    """Return how many pairs have each tag, without those that no pair has."""
    counts = {tag: sum(tag in pair.tags for pair in pairs) for tag in TAGS}
    return {tag: count for tag, count in counts.items() if count}


def _rows(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path, ["prompt", "response"])


def _verdicts(path: Path, expected: int) -> list[Verdict | None]:
    rows = [line for line in read_lines(path) if line.strip()]
    if len(rows) != expected:
        raise UnwriteError(
            f"{path} must hold {expected} verdicts, one per response, got {len(rows)}. Run `dvc repro judge_responses`."
        )
    return [parse_record(Verdict, row.encode(), f"{path}, line {number}") for number, row in enumerate(rows, 1)]
