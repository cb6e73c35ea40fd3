"""Verdicts on the base model's responses from workers, in batches of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from unwrite.errors import as_user_error
from unwrite.evaluation.behaviour import behaviour_verdicts
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.templates import load_as_tokenized
from unwrite.terms import SetName
from unwrite.workers.model_on_node import folder_on_node
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.pool import Pool, finished_batches

_Prompts = Mapping[SetName, Sequence[Sequence[int]]]


class Judging(NamedTuple):
    """What the responses are judged by.

    template: the chat template that prompts were rendered with.
    markers: phrases that mark the behaviour.
    max_tokens: the longest response.
    """

    template: str
    markers: Sequence[str]
    max_tokens: int


class VerdictWorker:
    """A model in a worker, whose responses to batches of prompts are judged."""

    def __init__(self, setup: ModelSetup, prompts: _Prompts, judging: Judging) -> None:
        """Load the model, and find out what the passes over each set have in common."""
        self._model = setup.load()
        self._tokenizer = load_as_tokenized(folder_on_node(setup.base, setup.project), judging.template)
        self._prompts, self._judging = prompts, judging
        batch_tokens = setup.runtime.batch_tokens
        self._limits = {
            name: measuring_limits(self._model, batch_tokens, rows, judging.max_tokens).generation
            for name, rows in prompts.items()
        }
        sensitive = setup.base.padding_sensitive
        self._shared = {
            name: SharedWork(prefix_of(self._model, rows, padding_sensitive=sensitive))
            for name, rows in prompts.items()
        }
        self._budget = Budget()

    def most_tokens(self) -> dict[SetName, int]:
        """Return how many tokens a pass over the prompts of each set may hold."""
        return self._limits

    def judge(self, name: SetName, rows: Sequence[int]) -> list[bool]:
        """Return whether the responses to a batch of prompts show the behaviour.

        Raises:
            UnwriteError: as in `behaviour_verdicts`, or a marker is empty once normalized.
        """
        with as_user_error("The marker list", "Remove that line from judge.markers."):
            verdicts = behaviour_verdicts(
                self._model,
                self._tokenizer,
                self._prompts[name],
                [rows],
                max_tokens=self._judging.max_tokens,
                markers=self._judging.markers,
                shared=self._shared[name],
                budget=self._budget,
            )
        return [bool(verdicts[row]) for row in rows]


def verdicts_from_workers(
    pool: Pool, setup: ModelSetup, prompts: _Prompts, judging: Judging
) -> dict[SetName, list[bool]]:
    """Judge the base model's responses to several sets of prompts in workers.

    Args:
        pool: workers.
        setup: what they load.
        prompts: the prompts.
        judging: what the responses are judged by.

    Returns:
        The verdicts on each set, the same as from one process.

    Raises:
        UnwriteError: as in `VerdictWorker.judge`, or three workers died of a batch.
    """
    pool.prepare(partial(VerdictWorker, setup, prompts, judging), again=True)
    most_tokens: dict[SetName, int] = pool.ask("most_tokens")
    jobs: list[tuple[SetName, list[int]]] = []
    for name, rows in prompts.items():
        lengths = [len(tokens) + judging.max_tokens for tokens in rows]
        batches = by_token_budget(lengths, most_tokens[name], padding_sensitive=setup.base.padding_sensitive)
        jobs += [(name, batch) for batch in batches]
    verdicts = {name: [False] * len(rows) for name, rows in prompts.items()}
    title = "base responses to training prompts"
    for (name, batch), shown in finished_batches(pool, "judge", jobs, title, setup.runtime.progress):
        for row, verdict in zip(batch, shown, strict=True):
            verdicts[name][row] = verdict
    return verdicts
