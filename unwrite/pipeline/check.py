"""Check params.yaml and the files it names before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unwrite.errors import UnwriteError
from unwrite.files.marker_lists import read_markers
from unwrite.files.prompt_sets import check_new_prompts, check_no_shared_prompts
from unwrite.pipeline.classifier_judge import check_classifier
from unwrite.pipeline.found_model import refuse_unusable_gguf
from unwrite.pipeline.prompt_sources import read_extra_set, read_sets
from unwrite.pipeline.templates import named_template
from unwrite.schema.gates import best_end, parse_gate
from unwrite.schema.params import Params, load_params

_SLOW = 1.5
"""How many times as long as float32 a dtype may take before that is worth a note."""


def check_params(path: Path) -> list[str]:
    """Check params.yaml, the prompt, template and marker files it names, a GGUF file and the configured classifier.

    Args:
        path: params.yaml.

    Returns:
        What is allowed, and may not be what its author wants.

    Raises:
        UnwriteError: something is wrong.
    """
    params = load_params(path)
    refuse_unusable_gguf(params.model.source, params.model.revision)
    if params.tokenize.template is not None:
        named_template(params.tokenize.template)
    sets = read_sets(params.tokenize)
    used = check_no_shared_prompts({name: one.prompts() for name, one in sets.items()})
    prompts = {name: one.origin.prompts["test"] for name, one in sets.items()}
    for name, extra in params.evaluate.sets.items():
        placed = read_extra_set(name, extra.prompts, params.tokenize).splits["test"]
        check_new_prompts(placed, used)
        prompts[name] = len(placed)
        if extra.markers is not None:
            read_markers(Path(extra.markers))
    read_markers(Path(params.judge.markers))
    _refuse_gates_out_of_reach(params, prompts)
    classifier = params.judge.classifier
    notes = [] if classifier is None else list(check_classifier(classifier))
    return [*_notes_on_rates(params), *_notes_on_dtype(params), *notes]


def _refuse_gates_out_of_reach(params: Params, prompts: dict[str, int]) -> None:
    """Raise for a gate that no model can keep, since too few prompts leave too wide an interval."""
    for gate in params.evaluate.gates:
        bound = parse_gate(gate)
        count = prompts.get(bound.figure.partition(".")[2].partition(".")[0])
        best = None if count is None else best_end(bound.figure, count, params.score.confidence)
        demanded = {"high": "<", "low": ">"}.get(bound.figure.rpartition(".")[2], "")
        if best is not None and bound.comparison.startswith(demanded) and not bound.holds(best):
            raise UnwriteError(
                f"evaluate.gates: {gate} must be within reach, but with {count} prompts the best possible value is "
                f"{best:.3g}. Use more prompts or another bound."
            )


def _notes_on_rates(params: Params) -> Iterator[str]:
    aimed, accepted = params.optimize.max_behaviour_rate, params.select.max_behaviour_rate
    if accepted < aimed:
        yield "the search aims at a higher behaviour rate than select.max_behaviour_rate accepts."
    if accepted > aimed and params.optimize.racing:
        yield (
            "select.max_behaviour_rate accepts trials above optimize.max_behaviour_rate, which the search stops. "
            "Give both the same value, or set optimize.racing to false."
        )


def _notes_on_dtype(params: Params) -> Iterator[str]:
    if params.model.dtype in {"auto", "float32"}:
        return
    import torch

    from unwrite.models.compute_dtype import slowdown
    from unwrite.models.placement import pick_device

    if pick_device(params.runtime.device).type == "cpu":
        ratio = slowdown(getattr(torch, params.model.dtype))
        if ratio >= _SLOW:
            yield (
                f"this processor multiplies {params.model.dtype} {ratio:.1f} times as slowly as float32. "
                "Set model.dtype to auto."
            )
