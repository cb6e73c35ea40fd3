"""Residuals from workers: batches of prompts are cut here, extracted there, and put together in order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from unwrite.models.batches import Budget, by_token_budget
from unwrite.models.memory import pass_limits
from unwrite.models.placement import pass_device
from unwrite.models.prefix_check import prefix_of
from unwrite.models.quantized import describe_quantization
from unwrite.models.residuals import extract_residuals, residuals_of_batch
from unwrite.models.shared_work import SharedWork
from unwrite.terms import SetName, SplitName
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.named_rows import named_rows
from unwrite.workers.packed_tensor import PackedTensor, pack, unpack
from unwrite.workers.pool import Pool, finished_batches

logger = logging.getLogger(__name__)

_Prompts = Mapping[tuple[SetName, SplitName], Sequence[Sequence[int]]]


class ResidualWorker:
    """A model in a worker, which extracts the residuals of the batches that it is given."""

    def __init__(self, setup: ModelSetup, prompts: _Prompts, positions: Sequence[int]) -> None:
        """Load the model, and find out what its passes have in common.

        Args:
            setup: what to load.
            prompts: all prompts.
            positions: negative positions.
        """
        self._model = setup.load()
        if setup.base.quantization != "none":
            logger.info("%s: %s", setup.base.quantization, describe_quantization(self._model))
        self._prompts, self._positions = prompts, positions
        every = [tokens for rows in prompts.values() for tokens in rows]
        sensitive = setup.base.padding_sensitive
        self._shared = SharedWork(prefix_of(self._model, every, padding_sensitive=sensitive, rest=-min(positions)))
        self._budget = Budget()
        self._limits = pass_limits(
            pass_device(self._model),
            setup.runtime.batch_tokens,
            lambda rows: residuals_of_batch(self._model, rows, [-1]),
            every,
        )

    def most_tokens(self) -> int:
        """Return how many tokens a pass may hold."""
        return self._limits.one_pass

    def extract(self, name: SetName, split: SplitName, rows: Sequence[int]) -> PackedTensor:
        """Return the residuals [rows, P, L+1, d] of one batch, packed.

        Raises:
            UnwriteError: as in `extract_residuals`, with the set and the split.
        """
        prompts = self._prompts[name, split]
        with named_rows(rows, f"{name} {split}"):
            residuals = extract_residuals(
                self._model,
                [prompts[row] for row in rows],
                self._positions,
                batches=[range(len(rows))],
                shared=self._shared,
                budget=self._budget,
            )
        return pack(residuals)


def residuals_from_workers(
    pool: Pool, setup: ModelSetup, prompts: _Prompts, positions: Sequence[int]
) -> dict[tuple[SetName, SplitName], Tensor]:
    """Extract the residuals of several sets of prompts in workers.

    Args:
        pool: workers.
        setup: what they load.
        prompts: the prompts.
        positions: negative positions.

    Returns:
        [n, P, L+1, d] of each set and split, the same as from one process.

    Raises:
        UnwriteError: as in `extract_residuals`, or three workers died of a batch.
    """
    pool.prepare(partial(ResidualWorker, setup, prompts, positions), again=True)
    most_tokens: int = pool.ask("most_tokens")
    jobs = [
        (*key, batch)
        for key, rows in prompts.items()
        for batch in by_token_budget(
            [len(tokens) for tokens in rows], most_tokens, padding_sensitive=setup.base.padding_sensitive
        )
    ]
    tables: dict[tuple[SetName, SplitName], Tensor] = {}
    for (name, split, rows), packed in finished_batches(
        pool, "extract", jobs, "residuals", setup.runtime.progress, ahead=1
    ):
        key, block = (name, split), unpack(packed)
        if key not in tables:
            tables[key] = block.new_empty((len(prompts[key]), *block.shape[1:]))
        tables[key][list(rows)] = block
    return tables
