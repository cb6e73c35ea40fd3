"""Both models on the same prompts: which rates differ by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from unwrite.core.significance import holm_adjusted, mcnemar_p
from unwrite.errors import UnwriteError
from unwrite.schema.evaluation import Comparison, Verdict

PROPERTIES: Mapping[str, Callable[[Verdict], bool | None]] = {
    "behaviour_rate": lambda verdict: verdict.shown,
    "degenerate_rate": lambda verdict: verdict.degenerate is not None,
    "cut_rate": lambda verdict: verdict.cut,
    "reference_accuracy": lambda verdict: verdict.correct,
}
"""What each rate counts; None where it does not apply to a response."""


def compare_models(base: Mapping[str, Sequence[Verdict]], edited: Mapping[str, Sequence[Verdict]]) -> list[Comparison]:
    """Compare every rate of both models, on every prompt set.

    Args:
        base: verdicts on the base model's responses, by prompt set, in the order of the prompts.
        edited: the same of the edited model.

    Raises:
        UnwriteError: the two models did not answer the same prompts.
    """
    found = []
    for name, before in base.items():
        after = edited.get(name, ())
        if len(before) != len(after):
            raise UnwriteError(
                f"Both models must have a verdict on each of the {name} prompts, got {len(before)} for the base and "
                f"{len(after)} for the edited model. Run `dvc repro -f judge_responses`."
            )
        for figure, holds in PROPERTIES.items():
            pairs = [(holds(one), holds(other)) for one, other in zip(before, after, strict=True)]
            known = [(one, other) for one, other in pairs if one is not None and other is not None]
            if known:
                found.append(_comparison(name, figure, known))
    adjusted = holm_adjusted([comparison.p for comparison in found])
    return [one.model_copy(update={"p_adjusted": p}) for one, p in zip(found, adjusted, strict=True)]


def _comparison(prompts: str, figure: str, pairs: Sequence[tuple[bool, bool]]) -> Comparison:
    only_base, only_edited = pairs.count((True, False)), pairs.count((False, True))
    p = mcnemar_p(only_base, only_edited)
    return Comparison(
        prompts=prompts,
        figure=figure,
        n=len(pairs),
        only_base=only_base,
        only_edited=only_edited,
        p=p,
        p_adjusted=p,  # until all are known
    )
