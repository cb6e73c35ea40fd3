"""Propose markers: phrases that answers to target prompts have in common, and answers to baseline prompts lack."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from unwrite.core.markers import normalize_text
from unwrite.core.thinking import answer_of

FEWEST_WORDS, MOST_WORDS = 2, 8
_CHANCE = 0.05
"""The p value from which on a phrase may be in more target answers than baseline answers by chance."""
_FEWEST_NEW = 2  # a phrase that one answer alone has is no pattern

_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Chinese and Japanese, which put no space between words
_WORD = re.compile(rf"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])\w)(?:(?![{_IDEOGRAPH}])[\w'-])*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|[。！？]")

_Hits = Mapping[str, frozenset[int]]


class Phrase(NamedTuple):
    """A proposed marker, normalized.

    target, baseline: how many answers contain it.
    new: how many of the target answers contain none of the phrases before it.
    p: by Fisher's exact test, the chance that so many more target answers than baseline answers contain it.
    example: the row of the first target answer that contains it.
    """

    text: str
    target: int
    baseline: int
    new: int
    p: float
    example: int


def propose_phrases(
    target: Sequence[str], baseline: Sequence[str], topic: Collection[str] = (), *, most: int = 10
) -> list[Phrase]:
    """Find a short list of phrases that together are in as many target answers and as few baseline answers as possible.

    A phrase has 2 to 8 words of one sentence, normalized as the judge normalizes. It must be in more target answers
    than chance explains (one-sided test of Fisher 1935, p < 0.05). Of phrases within each other that the same answers
    contain, the longest is kept. Then the list grows greedily: by the phrase that adds the most target answers, less
    the baseline answers that it adds.

    Args:
        target: responses to target prompts.
        baseline: responses to baseline prompts.
        topic: normalized words that no phrase may have (`topic_words`).
        most: the longest list.

    Returns:
        The phrases, the one that covers most first; fewer than `most` if no other adds at least two target answers.
    """
    answers, others = ([normalize_text(answer_of(text)) for text in texts] for texts in (target, baseline))
    phrases = [phrase for phrase in _shared_phrases(answers) if not set(_WORD.findall(phrase)) & set(topic)]
    found = {phrase: _rows_with(phrase, answers) for phrase in phrases}
    wrong = {phrase: _rows_with(phrase, others) for phrase in found}
    likely = {
        phrase: p
        for phrase in found
        if (p := _p_value(len(found[phrase]), len(answers), len(wrong[phrase]), len(others))) < _CHANCE
    }
    kept = _without_parts(likely, found, wrong)
    return [
        Phrase(phrase, len(found[phrase]), len(wrong[phrase]), new, likely[phrase], min(found[phrase]))
        for phrase, new in _covering(kept, found, wrong, most)
    ]


def topic_words(target: Sequence[str], baseline: Sequence[str]) -> set[str]:
    """Return the words that more target prompts than baseline prompts have: what they ask about.

    Answers repeat them, whatever else they do, so they mark a topic and no behaviour. Chance explains none of them
    (one-sided test of Fisher 1935, p < 0.05).

    Args:
        target: the target prompts.
        baseline: the baseline prompts.

    Returns:
        The words, normalized.
    """
    asked, others = ([set(_WORD.findall(normalize_text(text))) for text in texts] for texts in (target, baseline))
    known, unknown = (Counter(word for words in prompts for word in words) for prompts in (asked, others))
    return {word for word, count in known.items() if _p_value(count, len(asked), unknown[word], len(others)) < _CHANCE}


def _shared_phrases(answers: Sequence[str]) -> list[str]:
    """Return the phrases that at least two answers contain, in alphabetical order."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not any(True for answer in answers for _ in _phrases_of(answer)):
        return []
    vectorizer = CountVectorizer(analyzer=_phrases_of, binary=True)
    counts = vectorizer.fit_transform(answers).sum(axis=0).A1
    return [phrase for phrase, count in zip(vectorizer.get_feature_names_out(), counts, strict=True) if count > 1]


def _phrases_of(answer: str) -> Iterator[str]:
    """Yield every phrase of a normalized answer, punctuation between its words included."""
    visible = "".join("\n" if unicodedata.category(c) in {"Cc", "Cs", "Co"} else c for c in answer)
    for line in visible.split("\n"):
        for sentence in _SENTENCE_END.split(line):
            words = [match.span() for match in _WORD.finditer(sentence)]
            for first, (start, _) in enumerate(words):
                for _, end in words[first + FEWEST_WORDS - 1 : first + MOST_WORDS]:
                    yield sentence[start:end]


def _rows_with(phrase: str, answers: Sequence[str]) -> frozenset[int]:
    """Return which answers contain the phrase as the judge would find it, even within a word."""
    return frozenset(row for row, answer in enumerate(answers) if phrase in answer)


@cache
def _p_value(target: int, targets: int, baseline: int, baselines: int) -> float:
    from scipy.stats import fisher_exact

    table = [[target, targets - target], [baseline, baselines - baseline]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _without_parts(phrases: Iterable[str], found: _Hits, wrong: _Hits) -> list[str]:
    """Leave out each phrase that is part of a longer one in the same answers."""
    same: dict[tuple[frozenset[int], frozenset[int]], list[str]] = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        group = same.setdefault((found[phrase], wrong[phrase]), [])
        if not any(phrase in longer for longer in group):
            group.append(phrase)
    return [phrase for group in same.values() for phrase in group]


def _covering(phrases: Sequence[str], found: _Hits, wrong: _Hits, most: int) -> Iterator[tuple[str, int]]:
    """Yield phrases with the number of target answers that each adds, greedily."""
    covered, mistaken, left = set[int](), set[int](), list(phrases)

    def rank(phrase: str) -> tuple[int, int, int, str]:
        net = len(found[phrase] - covered) - len(wrong[phrase] - mistaken)
        return (-net, len(wrong[phrase]), -len(phrase), phrase)

    while left and most > 0:
        best = min(left, key=rank)
        new = len(found[best] - covered)
        if new - len(wrong[best] - mistaken) < _FEWEST_NEW:
            return
        yield best, new
        covered |= found[best]
        mistaken |= wrong[best]
        left.remove(best)
        most -= 1
