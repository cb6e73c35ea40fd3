"""What a worker of a search does: it holds its own model and objective, and measures the trials it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from unwrite.schema.artifacts import EditSettings, TrialParameters
from unwrite.schema.params import Optimize
from unwrite.search.backend_choice import BackendChoice
from unwrite.search.backends import Result
from unwrite.search.inputs import SearchFiles, load_inputs
from unwrite.search.objective import prepare_objective
from unwrite.search.racing import Standard
from unwrite.workers.model_on_node import folder_on_node
from unwrite.workers.model_setup import ModelSetup


class SearchSetup(NamedTuple):
    """What all workers of a search are given.

    model: what they load.
    files: everything that the search reads apart from the model.
    optimize: section `optimize` of params.yaml.
    settings: settings that all trials share.
    """

    model: ModelSetup
    files: SearchFiles
    optimize: Optimize
    settings: EditSettings


class SearchReport(NamedTuple):
    """What a worker knows before the first trial.

    base_rate: behaviour rate of the base model on the target prompts.
    share_of_raced: `EvaluationContext.share_of_raced`.
    choice: how trials are measured; None if no trial is left to choose by.
    """

    base_rate: float
    share_of_raced: float
    choice: BackendChoice | None


class SearchWorker:
    """An objective in a worker."""

    def __init__(
        self, setup: SearchSetup, earlier: BackendChoice | None, first_batch: Sequence[TrialParameters] = ()
    ) -> None:
        """Load the model, measure it, and settle how trials are measured.

        Args:
            setup: what all workers are given.
            earlier: the choice of the first worker, or of an earlier part of the search, if any.
            first_batch: trials to choose by, where nothing is settled.
        """
        base, project, runtime, dtype = setup.model
        runtime = runtime.model_copy(update={"progress": "none"})
        inputs = load_inputs(setup.files, folder_on_node(base, project), dtype, runtime)
        self._objective = prepare_objective(inputs, setup.optimize, setup.settings, runtime, earlier=earlier)
        if first_batch:
            self._objective.settle(first_batch)

    def report(self) -> SearchReport:
        """Return what is known before the first trial."""
        context = self._objective.context
        return SearchReport(context.base_rate, context.share_of_raced, self._objective.choice)

    def groups(self, trials: Sequence[TrialParameters]) -> list[list[int]]:
        """Return the numbers of the trials that are measured together (`Objective.groups`)."""
        return self._objective.groups(trials)

    def measure(self, trials: Sequence[TrialParameters], standard: Standard) -> list[Result]:
        """Measure some trials, as `Objective.evaluate` does."""
        return self._objective.evaluate(trials, standard)
