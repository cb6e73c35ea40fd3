"""Interventions on a random model with a planted, linear behaviour: one direction of the stream makes it say a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.support.samples import sample_direction, sample_edit, sample_writer
from tests.support.tiny import random_direction, tiny_config, tiny_model
from unwrite.core.direction_set import compute_directions
from unwrite.evaluation.interventions import Planned, Source, intervening, planned_runs, sources_of, untouched
from unwrite.models.generation import generate_greedily
from unwrite.models.residuals import extract_residuals
from unwrite.terms import Orthogonalize

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WIDTH, WORD = 128, 11
SIZES = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 3}
TARGET = [[n, 5, 20 + n] for n in range(10)]
BASELINE = [[n, 6, 40 + n] for n in range(10)]


class Planted(NamedTuple):
    """A model that answers with `WORD` where its stream has a positive component along a direction."""

    model: PreTrainedModel
    direction: Tensor
    tensors: dict[str, Tensor]


def plant(orthogonalization: Orthogonalize = "none") -> Planted:
    model = tiny_model(tiny_config("llama", **SIZES))
    v = random_direction(WIDTH).float()
    with torch.no_grad():
        embedding = model.get_parameter("model.embed_tokens.weight")
        embedding.sub_((embedding @ v).unsqueeze(-1) * v)
        for layer in model.model.layers:  # weak, so that the stream carries the direction to the end
            layer.self_attn.o_proj.weight *= 0.02
            layer.mlp.down_proj.weight *= 0.02
        embedding[20:30] += 12 * v  # the last token of every target prompt
        embedding[40:50] -= 12 * v
        model.get_output_embeddings().weight[WORD] = v / model.model.norm.weight
    residuals = [extract_residuals(model, prompts) for prompts in (TARGET, BASELINE)]
    return Planted(model, v, compute_directions(*residuals, orthogonalization=orthogonalization))


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant()


def rate(planted: Planted, run: Planned) -> float:
    prompts = TARGET if run.prompts == "target" else BASELINE
    with intervening(planted.model, run):
        responses = generate_greedily(planted.model, prompts, 1)
    return sum(WORD in response for response in responses) / len(responses)


def test_the_behaviour_is_there_on_target_prompts_alone(planted: Planted) -> None:
    assert {run.prompts: rate(planted, run) for run in untouched()} == {"target": 1, "baseline": 0}


def test_adding_brings_it_out_and_ablating_removes_it_and_random_vectors_do_neither(planted: Planted) -> None:
    runs = planned_runs(Source(0, 2.0, 1.0), planted.tensors, controls=3, seed=0)
    rates = {(run.intervention, run.vector, run.seed): rate(planted, run) for run in runs}
    assert (rates.pop(("add", "direction", None)), rates.pop(("ablate", "direction", None))) == (1, 0)
    assert rates == {(did, "random", seed): float(did == "ablate") for did in ("add", "ablate") for seed in range(3)}


def test_the_push_is_the_distance_of_the_means_along_the_direction(planted: Planted) -> None:
    first, *_ = planned_runs(Source(0, 2.0, 1.0), planted.tensors, controls=0, seed=0)
    target, baseline = (planted.tensors[name][0, 2] for name in ("target_mean", "baseline_mean"))
    assert first.length == pytest.approx(float((target - baseline).norm()), rel=1e-5)
    assert first.layer == 1  # whose output has residual index 2
    with intervening(planted.model, first):
        pushed = extract_residuals(planted.model, BASELINE)
    assert torch.allclose(pushed.mean(0)[0, 2], target, atol=1e-3)
    assert torch.equal(pushed[:, 0, 1], extract_residuals(planted.model, BASELINE)[:, 0, 1])


def test_of_an_orthogonalized_direction_the_whole_difference_is_tried_too() -> None:
    part = plant("projected")
    runs = planned_runs(Source(0, 2.0, 1.0), part.tensors, controls=1, seed=7)
    added = [(run.vector, run.seed) for run in runs if run.intervention == "add"]
    assert added == [("direction", None), ("random", 7), ("difference", None), ("random", 7)]
    direction, first, difference, second = (run.length for run in runs[:4])
    assert direction == first
    assert difference == second
    assert difference is not None
    assert direction is not None
    assert difference > 1.001 * direction
    assert rate(part, runs[2]) == 1


def test_ablation_leaves_nothing_along_the_direction_at_any_index_and_adding_does(planted: Planted) -> None:
    runs = planned_runs(Source(0, 2.0, 1.0), planted.tensors, controls=1, seed=0)
    v = planted.tensors["directions"][0, 2]
    by_vector = {run.vector: run for run in runs if run.intervention == "ablate"}
    left = {}
    for vector, run in by_vector.items():
        with intervening(planted.model, run):
            residuals = extract_residuals(planted.model, TARGET, (-1, -2))
        left[vector] = float((residuals @ v).abs().max() / residuals.norm(dim=-1).max())
    assert left["direction"] < 1e-5
    assert left["random"] > 0.1


def test_an_interpolated_direction_is_added_at_the_nearest_output_of_a_layer() -> None:
    assert [Source(0, index, 1.0).added_at for index in (0.0, 0.3, 1.4, 1.5, 2.0)] == [1, 1, 1, 2, 2]


def test_controls_follow_from_the_seed(planted: Planted) -> None:
    one, same, other = (
        planned_runs(Source(0, 2.0, 1.0), planted.tensors, controls=1, seed=seed)[-1].unit for seed in (3, 3, 4)
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_direction_of_zero_is_refused(planted: Planted) -> None:
    zero = planted.tensors | {"directions": torch.zeros_like(planted.tensors["directions"])}
    with pytest.raises(ValueError, match="no direction at residual index 2"):
        planned_runs(Source(0, 2.0, 1.0), zero, controls=0, seed=0)


def test_the_directions_that_edits_use_the_most_come_first() -> None:
    edits = [
        sample_edit(sample_writer(layer), strength, sample_direction(index))
        for layer, strength, index in ((0, 0.5, 1.0), (1, -0.9, 2.0), (2, 0.5, 1.0), (3, 0.2, 4.5))
    ]
    assert sources_of(edits, 2) == [Source(0, 1.0, 1.0), Source(0, 2.0, 0.9)]
    assert sources_of([], 3) == []
