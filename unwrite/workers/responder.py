"""The base or the edited model in a worker: it responds to batches of prompts, and is teacher-forced on responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unwrite.evaluation.divergence import KLDivergences, TeacherForced, measure_kl, teacher_force
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.batches import Budget
from unwrite.models.end_tokens import end_tokens, log_end_tokens
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model
from unwrite.models.memory import Limits
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork
from unwrite.pipeline.templates import load_as_tokenized
from unwrite.schema.artifacts import FileDigest
from unwrite.schema.paths import MODEL
from unwrite.workers.model_on_node import check_once_a_node, folder_on_node
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.named_rows import named_rows


class Questions(NamedTuple):
    """What is asked of both models.

    prompts: token ids of each set.
    template: the chat template that prompts were rendered with.
    max_tokens: the longest response.
    kl_tokens: response tokens that the KL divergence is averaged over.
    """

    prompts: Mapping[str, Sequence[Sequence[int]]]
    template: str
    max_tokens: int
    kl_tokens: int


class CommonPasses(NamedTuple):
    """What the passes of both models have in common, found with the base model.

    end_ids: tokens that end a response.
    limits: what one pass may hold.
    prefix: tokens that every prompt begins with.
    """

    end_ids: Sequence[int]
    limits: Limits
    prefix: Sequence[int]


class Responder:
    """A model in a worker."""

    def __init__(
        self,
        setup: ModelSetup,
        questions: Questions,
        passes: CommonPasses | None = None,
        released: Sequence[FileDigest] | None = None,
    ) -> None:
        """Load the base model, or the edited one.

        Args:
            setup: what to load, and how.
            questions: what is asked.
            passes: what the passes have in common; None to find out.
            released: files of the edited model; None for the base model.

        Raises:
            UnwriteError: this node lacks the model, or has another one.
        """
        base_folder = folder_on_node(setup.base, setup.project)
        folder = base_folder if released is None else setup.project / MODEL
        if released is not None:
            check_once_a_node(folder, released, setup.project)
        self._model = load_model(folder, setup.dtype, setup.runtime)
        self._questions = questions
        self.passes = passes or self._find_passes(base_folder, setup)
        self._shared, self._budget = SharedWork(self.passes.prefix), Budget()

    def find_passes(self) -> CommonPasses:
        """Return what the passes have in common."""
        return self.passes

    def respond(self, name: str, rows: Sequence[int]) -> list[list[int]]:
        """Return the tokens of the responses to a batch of the prompts of one set."""
        responses = generate_greedily(
            self._model,
            self._questions.prompts[name],
            self._questions.max_tokens,
            batches=[rows],
            end_ids=self.passes.end_ids,
            shared=self._shared,
            budget=self._budget,
        )
        return [responses[row] for row in rows]

    def force(self, rows: Sequence[int], responses: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities [rows, m, V] over a batch of baseline responses, and which count [rows, m]."""
        with named_rows(rows):
            forced = teacher_force(
                self._model,
                self._baseline(rows),
                responses,
                self._questions.kl_tokens,
                batches=[range(len(rows))],
                shared=self._shared,
                budget=self._budget,
            )
        return forced.log_probs, forced.mask

    def compare(
        self, rows: Sequence[int], responses: Sequence[Sequence[int]], log_probs: Tensor, mask: Tensor
    ) -> KLDivergences:
        """Return the KL divergences of this model from the one whose log-probabilities these are, on a batch."""
        batches = [range(len(rows))]
        forced = TeacherForced(
            self._baseline(rows), responses, batches, self._questions.kl_tokens, log_probs.to(self._model.device), mask
        )
        with named_rows(rows):
            return measure_kl(self._model, forced, shared=self._shared, budget=self._budget)

    def _baseline(self, rows: Sequence[int]) -> list[Sequence[int]]:
        return [self._questions.prompts["baseline"][row] for row in rows]

    def _find_passes(self, folder: Path, setup: ModelSetup) -> CommonPasses:
        tokenizer = load_as_tokenized(folder, self._questions.template)
        log_end_tokens(self._model, tokenizer)
        every = [tokens for rows in self._questions.prompts.values() for tokens in rows]
        longest = max(self._questions.max_tokens, self._questions.kl_tokens)
        return CommonPasses(
            end_ids=end_tokens(self._model, tokenizer),
            limits=measuring_limits(self._model, setup.runtime.batch_tokens, every, longest),
            prefix=prefix_of(self._model, every, padding_sensitive=setup.base.padding_sensitive),
        )
