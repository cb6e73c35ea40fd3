"""Which prompt sets of two comparisons' sides can be tested in pairs: the same prompts, judged alike; else why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unwrite.report.response_pairs import ResponsePair
from unwrite.schema.evaluation import Verdict

SetVerdicts = dict[str, list[Verdict]]
"""The verdicts on an edited model's responses, by prompt set, in the order of the prompts."""


class JudgedSide(NamedTuple):
    """What a side has of responses, and what judged each of its prompt sets: equal values stand for equal judges."""

    pairs: Sequence[ResponsePair]
    judges: Mapping[str, object]


class PairedVerdicts(NamedTuple):
    """The verdicts of the sets that can be tested, on A's and on B's responses, and why others cannot."""

    a: SetVerdicts
    b: SetVerdicts
    reasons: list[str]


def paired_verdicts(a: JudgedSide, b: JudgedSide) -> PairedVerdicts:
    """Return the verdicts of both edited models on the same prompts.

    Args:
        a: one side.
        b: the other.
    """
    missing = [letter for letter, side in (("A", a), ("B", b)) if not side.pairs]
    if missing:
        reason = f"{' and '.join(missing)} {'have' if len(missing) > 1 else 'has'} no stored responses"
        return PairedVerdicts({}, {}, [f"{reason}: a release holds none, those of a revision are in DVC's cache"])
    found = PairedVerdicts({}, {}, [])
    before, after = _by_set(a.pairs), _by_set(b.pairs)
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, []), after.get(name, [])
        why = _unlike_prompts(one, other) or _unlike_judges(a.judges.get(name), b.judges.get(name))
        if why is not None:
            found.reasons.append(f"{name}: {why}")
            continue
        found.a[name] = [pair.edited.verdict for pair in one if pair.edited.verdict is not None]
        found.b[name] = [pair.edited.verdict for pair in other if pair.edited.verdict is not None]
    return found


def _by_set(pairs: Sequence[ResponsePair]) -> dict[str, list[ResponsePair]]:
    names = dict.fromkeys(pair.prompts for pair in pairs)
    return {name: [pair for pair in pairs if pair.prompts == name] for name in names}


def _unlike_prompts(a: Sequence[ResponsePair], b: Sequence[ResponsePair]) -> str | None:
    if not a or not b:
        return f"{'A' if a else 'B'} alone has this set"
    asked = [[(pair.prompt, pair.reference) for pair in side] for side in (a, b)]
    if asked[0] != asked[1]:
        return "the prompts differ"
    unjudged = [letter for letter, side in (("A", a), ("B", b)) if any(pair.edited.verdict is None for pair in side)]
    return f"the verdicts of {' and '.join(unjudged)} are in no cache" if unjudged else None


def _unlike_judges(a: object, b: object) -> str | None:
    if a is None or b is None:
        return "it is not known what judged the responses"
    return None if a == b else "other markers or another classifier judged the responses"
