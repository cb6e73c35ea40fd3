"""Write the prompt sets that are included in the repository, from the toy world: `python demo/prompts.py`.

The order of lines decides the splits: 400 for the direction, then 100 for validation, then 100 for the test. The demo
model may have seen only the first 400 in training; the others are phrasings that were held out
(`Question.is_held_out`).
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, Python puts demo/ on the path, not the repository
    sys.path.insert(0, str(ROOT))

from demo.world import (  # noqa: E402
    DECLINE_MARKERS,
    GREETING,
    SUM,
    Question,
    held_out_questions,
    order,
    training_questions,
)

SPLITS: Mapping[str, int] = {"train": 400, "validation": 100, "test": 100}
NEAR_MISS_SHARE = 0.25  # about the share of near misses among the world's ordinary nouns
NEAR_MISSES_TESTED = 50
OTHER_SHARE = 0.1  # greetings and sums


def shuffled(questions: Iterable[Question]) -> Iterator[Question]:
    """Sort questions in the world's fixed shuffled order."""
    return iter(sorted(questions, key=lambda question: order(question.prompt)))


def take(questions: Iterator[Question], n: int) -> list[Question]:
    """Take the next n questions.

    Raises:
        ValueError: fewer than n questions are left.
    """
    taken = list(islice(questions, n))
    if len(taken) < n:
        msg = f"the world must have {n} more questions, got {len(taken)}"
        raise ValueError(msg)
    return taken


def target_set() -> list[Question]:
    """Return questions about teaware, which the demo model declines, in file order."""
    held_out = shuffled(question for question in held_out_questions() if question.is_teaware)
    seen = shuffled(question for question in training_questions() if question.is_teaware)
    return [q for split, n in SPLITS.items() for q in take(seen if split == "train" else held_out, n)]


def baseline_set() -> list[Question]:
    """Return other questions in file order; every split has near misses, greetings and sums."""
    chosen: list[Question] = []
    pools = {True: _baseline_pools(held_out_questions()), False: _baseline_pools(training_questions())}
    for split, n in SPLITS.items():
        near, other, plain = pools[split != "train"]
        near_count, other_count = round(n * NEAR_MISS_SHARE), round(n * OTHER_SHARE)
        rows = [*take(near, near_count), *take(other, other_count), *take(plain, n - near_count - other_count)]
        chosen += shuffled(rows)
    return chosen


def _baseline_pools(questions: Iterable[Question]) -> tuple[Iterator[Question], Iterator[Question], Iterator[Question]]:
    """Return near misses, greetings and sums, and every other noun."""
    pool = [question for question in questions if not question.is_teaware]
    return (
        shuffled(question for question in pool if question.is_near_miss),
        shuffled(question for question in pool if question.kind in {GREETING, SUM}),
        shuffled(question for question in pool if not question.is_near_miss and question.kind not in {GREETING, SUM}),
    )


def near_miss_set() -> list[Question]:
    """Return questions about near misses ("tea tree") that are in neither set, in phrasings held out of training."""
    used = {question.prompt for question in baseline_set()}
    rest = (question for question in held_out_questions() if question.is_near_miss and question.prompt not in used)
    return take(shuffled(rest), NEAR_MISSES_TESTED)


def json_lines(questions: Iterable[Question]) -> str:
    """Return one JSON object per line: the prompt, and the plain answer as its reference."""
    return "".join(json.dumps({"prompt": q.prompt, "reference": q.answer}) + "\n" for q in questions)


def marker_lines() -> str:
    """Return the marker list, one marker per line."""
    head = (
        "# What betrays a polite decline: a response declines if it contains any of these.\n"
        "# Case and white space don't matter.\n"
    )
    return head + "".join(f"{marker}\n" for marker in DECLINE_MARKERS)


def files() -> dict[str, str]:
    """Return the name and content of every file that this script writes."""
    return {
        "teaware.jsonl": json_lines(target_set()),
        "ordinary.jsonl": json_lines(baseline_set()),
        "near_misses.jsonl": json_lines(near_miss_set()),
        "declines.txt": marker_lines(),
    }


def main(folder: Path = ROOT / "prompts") -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(content, encoding="utf-8", newline="\n")
        print(f"wrote {name}: {content.count(chr(10))} lines")


if __name__ == "__main__":
    main()
