"""The causal check of the demo: its record counts its responses, and runs are repeatable."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unwrite.core.degeneration import degeneration_of
from unwrite.core.markers import shows_behaviour
from unwrite.errors import UnwriteError
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import read_jsonl
from unwrite.files.tensors import read_metadata, write_tensors
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import Causality, CausalRate
from unwrite.schema.params import Params
from unwrite.stages.check_causality import check_causality

RECORD, RESPONSES = Path("artifacts/causality.json"), Path("artifacts/causal_responses.jsonl")
DIRECTIONS = Path("artifacts/directions.safetensors")


def record() -> Causality:
    return read_artifact(Causality, RECORD, "check_causality")


def test_the_record_counts_the_responses(project: Path, params: Params) -> None:
    causality = record()
    (check,) = causality.checks
    rows = read_jsonl(RESPONSES, ["response", "shown", "degenerate"])
    markers = read_markers(Path(params.judge.markers))
    assert [row["shown"] for row in rows] == [shows_behaviour(row["response"], markers) for row in rows]
    assert [row["degenerate"] for row in rows] == [degeneration_of(row["response"]) is not None for row in rows]
    rates = [*causality.untouched, *check.rates]
    assert len(rows) == 8 * len(rates)
    for number, rate in enumerate(rates):
        of_rate = rows[8 * number : 8 * number + 8]
        assert {(row["prompts"], row["intervention"], row["vector"], row["seed"]) for row in of_rate} == {
            (rate.prompts, rate.intervention, rate.vector, rate.seed)
        }
        assert rate.behaviour_rate.value == sum(row["shown"] for row in of_rate) / 8
        assert rate.degenerate_rate.value == sum(row["degenerate"] for row in of_rate) / 8


def test_alpha_is_the_length_of_the_difference_of_means_along_the_direction(project: Path) -> None:
    (check,) = record().checks
    tensors = {name: tensor[check.position].double() for name, tensor in load_file(DIRECTIONS).items()}
    low = int(check.residual_index)
    f = check.residual_index - low
    v = (1 - f) * tensors["directions"][low] + (f * tensors["directions"][low + 1] if f else 0)
    difference = tensors["target_mean"][check.added_at] - tensors["baseline_mean"][check.added_at]
    lengths = {rate.vector: rate.length for rate in check.rates if rate.intervention == "add" and rate.seed is None}
    assert lengths["direction"] == pytest.approx(float(v @ difference / v.norm()))
    assert lengths["difference"] == pytest.approx(float(difference.norm()))


def test_the_same_seeds_give_the_same_rates(project: Path, params: Params) -> None:
    def rates(seed: int, controls: int) -> list[CausalRate]:
        section = params.causality.model_copy(update={"seed": seed, "controls": controls})
        check_causality(params.model_copy(update={"causality": section}))
        return record().checks[0].rates

    before, after = rates(0, 3), rates(2, 2)
    assert {rate.seed for rate in after} == {None, 2, 3}
    assert [rate for rate in after if rate.seed != 3] == [rate for rate in before if rate.seed in {None, 2}]


def test_a_recipe_whose_direction_is_zero_is_an_expected_error(project: Path, params: Params) -> None:
    tensors = load_file(DIRECTIONS)
    zero = tensors | {"directions": torch.zeros_like(tensors["directions"])}
    write_tensors(DIRECTIONS, zero, read_metadata(DIRECTIONS, "compute_directions"))
    with pytest.raises(UnwriteError, match=r"edit\.json: there is no direction at .*\. Select another trial"):
        check_causality(params)


def test_a_recipe_without_edits_checks_nothing_and_keeps_the_untouched_rates(project: Path, params: Params) -> None:
    recipe = Path("artifacts/edit.json")
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"edits": []}))
    check_causality(params)
    assert record().checks == []
    assert [rate.prompts for rate in record().untouched] == ["baseline", "target"]


def test_a_quantized_model_is_checked_as_the_search_ran_it(project: Path, params: Params) -> None:
    base = Path("artifacts/base.json")
    base.write_text(json.dumps(json.loads(base.read_text()) | {"quantization": "nf4"}))
    before = record().checks[0]
    one = params.causality.model_copy(update={"controls": 0})
    check_causality(params.model_copy(update={"causality": one}))
    after = record().checks[0]
    assert [rate.intervention for rate in after.rates] == ["add", "add", "ablate"]
    assert [rate.length for rate in after.rates] == [rate.length for rate in before.rates if rate.vector != "random"]
    ablated = after.rates[-1].behaviour_rate.value
    assert ablated < record().untouched[1].behaviour_rate.value
