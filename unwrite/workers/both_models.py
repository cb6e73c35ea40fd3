"""Responses of base and edited model, and their KL divergence, from workers: one model after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from unwrite.errors import UnwriteError
from unwrite.evaluation.divergence import KLDivergences, teacher_forced_batches
from unwrite.models.batches import by_token_budget
from unwrite.schema.artifacts import FileDigest
from unwrite.schema.paths import MANIFEST
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.pool import Pool, finished_batches
from unwrite.workers.responder import CommonPasses, Questions, Responder

ResponsesOfSets = Mapping[str, Sequence[Sequence[int]]]
"""Token ids of the response to each prompt, by set."""


class BothModels(NamedTuple):
    """The responses of both models, and the KL divergence on the baseline prompts."""

    base: ResponsesOfSets
    edited: ResponsesOfSets
    divergences: KLDivergences


def responses_from_workers(
    pool: Pool, setup: ModelSetup, questions: Questions, released: Sequence[FileDigest]
) -> BothModels:
    """Let workers respond with the base model, then with the edited one, and compare them.

    The base model's log-probabilities come here in between, batch by batch: a worker that dies takes none along.

    Args:
        pool: workers.
        setup: what they load, and how.
        questions: what is asked.
        released: files of the edited model.

    Returns:
        The same as from one process.

    Raises:
        UnwriteError: a logit is NaN or infinite, or three workers died of a batch.
    """
    pool.prepare(partial(Responder, setup, questions), most=1, again=True)
    passes: CommonPasses = pool.ask("find_passes")
    pool.prepare(partial(Responder, setup, questions, passes))
    base = _respond(pool, "base", setup, questions, passes)
    batches = teacher_forced_batches(
        questions.prompts["baseline"],
        questions.kl_tokens,
        setup.base.vocabulary,
        passes.limits,
        padding_sensitive=setup.base.padding_sensitive,
    )
    responses = [[base["baseline"][row] for row in batch] for batch in batches]
    forced = _results(pool, "force", list(zip(batches, responses, strict=True)))
    pool.prepare(partial(Responder, setup, questions, passes, released), again=True)
    edited = _respond(pool, "edited", setup, questions, passes)
    jobs = [(*pair, *probabilities) for *pair, probabilities in zip(batches, responses, forced, strict=True)]
    first_token, response = ([0.0] * len(questions.prompts["baseline"]) for _ in range(2))
    for batch, divergences in zip(batches, _results(pool, "compare", jobs), strict=True):
        for row, *values in zip(batch, *divergences, strict=True):
            first_token[row], response[row] = values
    return BothModels(base, edited, KLDivergences(first_token, response))


def released_files(folder: Path) -> list[FileDigest]:
    """Return the files of a release as its manifest lists them.

    Raises:
        UnwriteError: there is no manifest, or it is not one.
    """
    path = folder / MANIFEST
    try:
        subject = json.loads(path.read_bytes())["subject"]
        files = [
            FileDigest(name=file["name"], size=file["annotations"]["size"], sha256=file["digest"]["sha256"])
            for file in subject
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnwriteError(f"{path} cannot be read ({error}): run `dvc repro merge_model` first.") from None
    return files


def _respond(pool: Pool, which: str, setup: ModelSetup, questions: Questions, passes: CommonPasses) -> ResponsesOfSets:
    jobs: list[tuple[str, list[int]]] = []
    for name, prompts in questions.prompts.items():
        lengths = [len(prompt) + questions.max_tokens for prompt in prompts]
        batches = by_token_budget(lengths, passes.limits.generation, padding_sensitive=setup.base.padding_sensitive)
        jobs += [(name, batch) for batch in batches]
    responses: dict[str, list[list[int]]] = {name: [[]] * len(rows) for name, rows in questions.prompts.items()}
    title = f"{which} model, all prompts"
    for (name, rows), answered in finished_batches(pool, "respond", jobs, title, setup.runtime.progress):
        for row, tokens in zip(rows, answered, strict=True):
            responses[name][row] = tokens
    return responses


def _results(pool: Pool, method: str, jobs: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the results of jobs, in order."""
    results = dict(pool.run(method, jobs))
    for result in results.values():
        if isinstance(result, UnwriteError):
            raise result
    return [results[number] for number in range(len(jobs))]
