"""Read the stored responses of a model, checked against the tokenized prompts, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.files.records import read_jsonl, read_lines
from unwrite.pipeline.tokens import TokenizedPrompt
from unwrite.schema.evaluation import Verdict
from unwrite.schema.parsing import parse_record
from unwrite.schema.paths import RESPONSES, VERDICTS
from unwrite.terms import SETS, ModelName

_AGAIN = "Run `dvc repro -f generate_responses`."


class StoredResponse(NamedTuple):
    """A response to a prompt with its reference if known, its number of tokens, and whether it reached the limit."""

    prompt: str
    reference: str | None
    response: str
    tokens: int
    cut: bool


def responses_file(model: ModelName, prompts: str, folder: Path = RESPONSES) -> Path:
    """Return the file with the responses (or, in another folder, the verdicts) of a model to a prompt set."""
    return folder / f"{model}.{prompts}.jsonl"


def read_responses(model: ModelName, name: str, prompts: Sequence[TokenizedPrompt]) -> list[StoredResponse]:
    """Read the responses of a model to a prompt set.

    Args:
        model: which model.
        name: the name of the prompt set.
        prompts: its prompts as they were tokenized.

    Raises:
        UnwriteError: the file is missing or damaged, or answers other prompts.
    """
    path, fields = responses_file(model, name), StoredResponse._fields
    rows = [StoredResponse(*(row[field] for field in fields)) for row in read_jsonl(path, required=fields)]
    if len(rows) != len(prompts):
        raise UnwriteError(f"{path} must answer the {len(prompts)} {name} prompts, got {len(rows)} responses. {_AGAIN}")
    for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True), 1):
        if (row.prompt, row.reference) != (prompt.prompt, prompt.reference):
            raise UnwriteError(
                f"{path}, line {number}, must answer {prompt.prompt[:60]!r}, got a response to {row.prompt[:60]!r}. "
                f"{_AGAIN}"
            )
    return rows


def read_verdicts(model: ModelName, name: str) -> list[Verdict]:
    """Read the verdicts on the responses of a model to a prompt set, in the order of the prompts.

    Args:
        model: which model.
        name: the name of the prompt set.

    Raises:
        UnwriteError: the file is missing or damaged.
    """
    path = responses_file(model, name, VERDICTS)
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    return [parse_record(Verdict, line.encode(), f"{path}, line {number},") for number, line in lines]


def judged_sets() -> list[str]:
    """Return the names of the prompt sets whose responses are judged: target, baseline, and the extra ones by name."""
    found = {path.name.removesuffix(".jsonl").partition(".")[2] for path in VERDICTS.glob("*.*.jsonl")}
    return [*SETS, *sorted(found - {*SETS})]
