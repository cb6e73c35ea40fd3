"""The objective of the search: the measurements of a list of trials on the validation prompts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from unwrite.editing.exact import parameter_names
from unwrite.editing.recipe import build_edits
from unwrite.evaluation.pass_limits import measuring_limits
from unwrite.models.placement import is_offloaded, parameters_of
from unwrite.report.format import percent
from unwrite.schema.artifacts import EditSettings, TrialParameters
from unwrite.schema.params import Optimize, Runtime
from unwrite.search.backend_choice import BackendChoice, required_backend, settled_choice
from unwrite.search.backends import Result, choose_backend, measure_trials
from unwrite.search.context import EvaluationContext, SearchInputs, prepare_context
from unwrite.search.grouping import Edits, measured_together
from unwrite.search.racing import ANY_TRIAL, Standard
from unwrite.search.trial_progress import TrialProgress

logger = logging.getLogger(__name__)


class Objective:
    """Measures trials, and holds the backend that measures them; the first list of trials chooses it if none is given.

    Attributes:
        context: the context that all measurements share.
        choice: how trials are measured; None until it is chosen.
    """

    def __init__(
        self,
        context: EvaluationContext,
        settings: EditSettings,
        choice: BackendChoice | None = None,
        trials_at_once: int = 0,
    ) -> None:
        """Hold the context and, if it is settled, the choice.

        Args:
            context: the context that all measurements share.
            settings: settings that all trials share.
            choice: how trials are measured, if it is settled.
            trials_at_once: trials per forward pass once activations are chosen; 0 for the whole list.
        """
        self.context = context
        self.choice = choice
        self._settings = settings
        self._trials_at_once = trials_at_once

    @property
    def base_rate(self) -> float:
        """Behaviour rate of the base model on the target prompts."""
        return self.context.base_rate

    @property
    def prompts(self) -> int:
        """Prompts of a trial."""
        return len(self.context.target) + len(self.context.teacher_forced.prompts)

    @property
    def share_of_raced(self) -> float:
        """`EvaluationContext.share_of_raced`."""
        return self.context.share_of_raced

    def show_progress(self, progress: TrialProgress) -> None:
        """Report every further measurement."""
        self.context = self.context._replace(advance=progress.advance, end_trial=progress.end_trial)

    def evaluate(self, trials: Sequence[TrialParameters], standard: Standard = ANY_TRIAL) -> list[Result]:
        """Measure some trials, each as far as it can still meet the standard; one that fails gives an UnwriteError."""
        recipes = self._recipes(trials)
        choice = self.settle(trials)
        return measure_trials(self.context._replace(standard=standard), recipes, choice)

    def settle(self, trials: Sequence[TrialParameters]) -> BackendChoice:
        """Return how trials are measured, chosen by some trials if it is not settled."""
        if self.choice is None:
            self.choice = self._choose(self._recipes(trials))
        return self.choice

    def groups(self, trials: Sequence[TrialParameters]) -> list[list[int]]:
        """Return the numbers of the trials that `evaluate` measures together, in its order."""
        return measured_together(self.context, self._recipes(trials), self.settle(trials))

    def _recipes(self, trials: Sequence[TrialParameters]) -> list[Edits]:
        return [build_edits(trial, self.context.writers, self._settings) for trial in trials]

    def _choose(self, recipes: Sequence[Edits]) -> BackendChoice:
        at_once = self._trials_at_once or len(recipes)
        chosen = choose_backend(self.context, recipes, at_once)
        logger.info(f"Trials are measured on {chosen.backend} ({chosen.reason}).")
        return BackendChoice(backend=chosen.backend, trials_at_once=at_once, limits=self.context.limits)


def prepare_objective(
    inputs: SearchInputs,
    optimize: Optimize,
    settings: EditSettings,
    runtime: Runtime,
    *,
    earlier: BackendChoice | None = None,
) -> Objective:
    """Measure the base model and return the objective.

    Args:
        inputs: everything the search reads.
        optimize: section `optimize` of params.yaml.
        settings: settings that all trials share.
        runtime: section `runtime` of params.yaml.
        earlier: choice of an earlier part of the same search. It applies unless `runtime` demands another.

    Raises:
        UnwriteError: no target prompt shows the behaviour, or the model does not support `runtime.backend`.
    """
    required = required_backend(runtime.backend, inputs.base.quantization, offloaded=is_offloaded(inputs.model))
    exchanged = parameters_of(inputs.model, parameter_names(inputs.base.writers))
    limits = measuring_limits(
        inputs.model,
        runtime.batch_tokens,
        [*inputs.target, *inputs.baseline],
        max(optimize.max_tokens, optimize.kl_tokens),
        reserved_bytes=sum(
            parameter.nbytes for parameter in exchanged.values()
        ),  # the originals, during a trial on weights
        earlier=None if earlier is None else earlier.limits,
    )
    logger.info(f"A forward pass holds at most {limits.generation} tokens.")
    context = prepare_context(inputs, optimize, settings, limits, runtime.progress)
    logger.info(f"Base model: behaviour rate {percent(context.base_rate)} on the validation prompts.")
    choice = settled_choice(required, runtime.trials_at_once or optimize.batch, limits, earlier)
    return Objective(context, settings, choice, runtime.trials_at_once)
