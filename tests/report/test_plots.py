"""The figures: what they show, read back from the SVG, and the odd inputs that must not break them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from unwrite.report.curves import GeometryPoint
from unwrite.report.edit_text import layer_rows
from unwrite.report.plots import geometry_plot, kernels_plot, rates_plot, trials_plot
from unwrite.schema.artifacts import Base, Front, Recipe, Trial
from unwrite.schema.evaluation import Evaluation


def words(svg: str) -> set[str]:
    """Every piece of text in a figure; parsing it shows that it is well-formed."""
    return {
        "".join(element.itertext()).strip() for element in ET.fromstring(svg).iter() if element.tag.endswith("text")
    }


def curve(values: list[float], position: int = 0) -> list[GeometryPoint]:
    return [GeometryPoint(position, index, 0.9, value, 0.5) for index, value in enumerate(values)]


def test_every_trial_is_drawn_and_the_selected_one_named(trials: list[Trial], front: Front) -> None:
    svg = trials_plot(trials, [], front.trials, trials[1], front.base_behaviour_rate)
    assert {"selected: trial 1", "front", "trial", "behaviour rate", "KL divergence (nats)"} <= words(svg)
    more = [trials[5].model_copy(update={"number": 6 + i, "kl": 0.05 + 0.01 * i}) for i in range(4)]
    larger = trials_plot([*trials, *more], [], front.trials, trials[1], front.base_behaviour_rate)
    assert larger.count("<use ") - svg.count("<use ") == 4


def test_selected_trial_need_not_be_on_the_front(trials: list[Trial], front: Front) -> None:
    assert "selected: trial 3" in words(trials_plot(trials, [], front.trials, trials[3], 0.9))


def test_stopped_trials_are_shown_as_lower_bounds(trials: list[Trial], front: Front) -> None:
    without, with_stopped = (trials_plot(trials, stopped, front.trials, trials[1], 0.9) for stopped in ([], trials[:2]))
    assert "stopped: at least" in words(with_stopped)
    assert "stopped: at least" not in words(without)


def test_divergence_of_zero_is_on_the_log_axis(trials: list[Trial], front: Front) -> None:
    zero = trials[0].model_copy(update={"kl": 0.0})
    svg = trials_plot([zero, *trials[1:]], [], [zero, *front.trials[1:]], trials[1], 0.9)
    assert "KL divergence (nats), 0 at the left edge" in words(svg)
    assert "nan" not in svg.casefold()


@pytest.mark.parametrize(("largest", "labels"), [(0.004, {"0.001", "0.002"}), (10.0, {"0.001", "0.01", "0.1", "1"})])
def test_log_axis_has_a_few_plain_labels(trials: list[Trial], largest: float, labels: set[str]) -> None:
    ends = [trials[0], trials[1].model_copy(update={"kl": largest})]
    numbers = {word for word in words(trials_plot(ends, [], ends, ends[1], 0.9)) if word.replace(".", "").isdigit()}
    assert labels <= numbers
    assert len(numbers) <= 7


@pytest.mark.parametrize("kl", [0.0, 0.01, -1e-9])
def test_single_trial_is_drawn(trials: list[Trial], kl: float) -> None:
    only = trials[0].model_copy(update={"kl": kl})
    assert "selected: trial 0" in words(trials_plot([only], [], [only], only, 1.0))


def test_infinite_separation_is_marked_and_undefined_is_a_gap() -> None:
    assert "∞" in words(geometry_plot(curve([0, 1, math.inf, 2]), [1.5]))
    undefined = geometry_plot(curve([0, math.nan, 2, math.inf]), [])
    assert "∞" in words(undefined)
    assert "∞" not in words(geometry_plot(curve([math.nan] * 4), []))
    assert "nan" not in undefined.casefold()


def test_positions_are_named_only_if_there_are_several() -> None:
    one, two = curve([0, 1, 2]), curve([0, 2, 3], position=1)
    assert "position 0" not in words(geometry_plot(one, []))
    assert {"position 0", "position 1"} <= words(geometry_plot(one + two, []))


def test_kernels_and_rates_are_labelled(recipe: Recipe, base: Base, evaluation: Evaluation) -> None:
    assert {"layer", "strength λ", "attention", "MLP"} <= words(kernels_plot(layer_rows(recipe, base)))
    assert {"base model", "edited model", "ceiling"} <= words(rates_plot(evaluation))
    assert "ceiling" not in words(rates_plot(evaluation.model_copy(update={"reference_ceiling": None})))


def test_recipe_that_edits_nothing_is_drawn(recipe: Recipe, base: Base) -> None:
    assert "layer" in words(kernels_plot(layer_rows(recipe.model_copy(update={"edits": []}), base)))
