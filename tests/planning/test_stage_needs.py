"""The needs of stages grow with what they come from, and are what the stages really take."""

from __future__ import annotations

import pytest

from tests.support.small_project import small_params
from unwrite.models.memory import constant_limits
from unwrite.planning.model_size import ModelSize
from unwrite.planning.stage_needs import ItemSizes, Passes, StageNeeds, stage_needs
from unwrite.planning.work import Work
from unwrite.schema.params import Params
from unwrite.terms import SETS, SPLITS

SIZE = ModelSize(
    parameters=10**8, largest_layer=10**7, layers=10, hidden=512, widest=2048, vocabulary=30_000, cached=10_240
)
WORK = Work({(name, split): [50] * 20 for name in SETS for split in SPLITS}, known=True)


def needs(params: Params, work: Work = WORK, size: ModelSize = SIZE, itemsize: int = 4) -> dict[str, StageNeeds]:
    found = stage_needs(params, work, size, ItemSizes(itemsize, itemsize), constant_limits(params.runtime.batch_tokens))
    return {stage.stage: stage for stage in found}


def test_every_stage_holds_the_weights_and_half_of_them_in_sixteen_bits() -> None:
    for itemsize in (2, 4):
        for stage in needs(small_params(), itemsize=itemsize).values():
            assert stage.memory["weights"] == itemsize * SIZE.parameters
            assert stage.peak == sum(stage.memory.values())


def test_quantized_weights_count_as_they_are_stored_but_where_releases_are_compared() -> None:
    size = SIZE._replace(packed=8 * 10**7, packed_bytes=4 * 10**7)
    params = small_params()
    found = stage_needs(params, WORK, size, ItemSizes(2, 4), constant_limits(params.runtime.batch_tokens))
    weights = {stage.stage: stage.memory["weights"] for stage in found}
    assert weights.pop("generate_responses") == 4 * SIZE.parameters
    assert set(weights.values()) == {2 * 2 * 10**7 + 4 * 10**7}
    assert len(weights) > 2


def test_stages_are_in_the_order_that_they_run_in() -> None:
    params = small_params()
    filtering = params.filter.model_copy(update={"target": True})
    names = list(needs(params.model_copy(update={"filter": filtering})))
    assert names == [
        "extract_residuals",
        "filter_prompts",
        "optimize_weights",
        "check_causality",
        "generate_responses",
    ]
    off = params.filter.model_copy(update={"target": False, "baseline": False})
    assert "filter_prompts" not in needs(params.model_copy(update={"filter": off}))


def test_the_search_reads_and_generates_for_every_trial() -> None:
    params = small_params()
    optimize = params.optimize.model_copy(update={"trials": 9, "kl_tokens": 8, "max_tokens": 30})
    passes = needs(params.model_copy(update={"optimize": optimize}))["optimize_weights"].passes
    trial = 20 * 50 + 20 * (50 + 8)
    assert passes == Passes(10 * trial + 20 * 50, ((20, 30),) * 10 + ((20, 8),))


def test_memory_of_the_search_grows_with_the_tokens_that_are_compared() -> None:
    params = small_params()
    more = params.model_copy(update={"optimize": params.optimize.model_copy(update={"kl_tokens": 16})})
    few, many = (needs(some)["optimize_weights"].memory for some in (params, more))
    assert many["base log-probabilities"] == 20 * 16 * SIZE.vocabulary * 4
    assert many["base log-probabilities"] > few["base log-probabilities"]
    assert many["logits"] > few["logits"]
    assert many["weights"] == few["weights"]


def test_the_divergence_of_the_release_is_counted_too() -> None:
    params = small_params()
    memory = needs(params)["generate_responses"].memory
    assert memory["base log-probabilities"] == 20 * params.generate.kl_tokens * SIZE.vocabulary * 4


@pytest.mark.parametrize("tokens", [1, 10**6])
def test_a_pass_holds_one_row_at_least_and_all_rows_at_most(tokens: int) -> None:
    params = small_params()
    params = params.model_copy(update={"runtime": params.runtime.model_copy(update={"batch_tokens": tokens})})
    rows = 1 if tokens == 1 else 20
    longest = 50 + params.optimize.max_tokens
    between = rows * 50 * (6 * SIZE.hidden + 3 * SIZE.widest)
    assert needs(params)["optimize_weights"].memory["a pass"] == 4 * (rows * longest * SIZE.cached + between)


def test_residuals_are_counted_for_the_largest_split() -> None:
    lengths = {**WORK.lengths, ("baseline", "train"): [50] * 70}
    params = small_params()
    found = needs(params, WORK._replace(lengths=lengths))["extract_residuals"].memory["residuals"]
    assert found == 70 * len(params.residuals.positions) * 11 * 512 * 4
