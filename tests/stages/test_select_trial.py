"""Selecting: the recipe of the chosen trial, with everything that the front states about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import KERNEL, sample_base, sample_front, sample_outcome, sample_writers, selected
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.schema.artifacts import Kernel, Norm, Recipe, Trial, TrialParameters, as_json
from unwrite.schema.params import Params, load_params
from unwrite.search.trials import TrialOutcome, write_trials
from unwrite.stages import select_trial as stage
from unwrite.terms import Scope

ROOT = Path(__file__).resolve().parents[2]


def parameters(scope: Scope = "global", index: float = 1.5, mlp: float = 0.5) -> TrialParameters:
    attention = Kernel(max_weight=1.0, max_weight_position=1.0, min_weight=0.5, min_weight_distance=2.0)
    other = Kernel(max_weight=mlp, max_weight_position=0.0, min_weight=mlp, min_weight_distance=1.0)
    return TrialParameters(direction_scope=scope, direction_index=index, position=0, attention=attention, mlp=other)


def trial(number: int, rate: float, kl: float, **changes: Any) -> Trial:
    return Trial(number=number, behaviour_rate=rate, kl=kl, parameters=parameters(**changes))


FRONT = [trial(7, 0.0, 0.9), trial(2, 0.04, 0.3), trial(5, 0.2, 0.1), trial(3, 0.6, 0.01)]
TRIALS = sorted([*FRONT, trial(0, 0.6, 0.9), trial(6, 0.3, 0.3)], key=lambda t: t.number)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A folder with base.json, front.json and trials.csv, where trial 1 has failed."""
    monkeypatch.chdir(tmp_path)
    norms = [Norm(parameter="norm", tensor="norm", offset=0.0)]
    base = sample_base(sample_writers(3, bias=True, norms=norms))
    write_json(Path("artifacts/base.json"), as_json(base))
    front = sample_front(FRONT, norm_preservation="columns", orthogonalize="biprojected")
    write_json(Path("artifacts/front.json"), as_json(front))
    outcomes = [sample_outcome(trial) for trial in TRIALS]
    write_trials([*outcomes, TrialOutcome(1, {}, parameters(), None, "spilt", 1.0)])
    return load_params(ROOT / "params.yaml")


def select(params: Params, **changes: Any) -> Recipe:
    stage.select_trial(params.model_copy(update={"select": params.select.model_copy(update=changes)}))
    return Recipe.model_validate_json(Path("artifacts/edit.json").read_text())


def test_the_recipe_names_every_writer_with_strength_and_direction(params: Params) -> None:
    recipe = select(params, max_behaviour_rate=0.05, trial=None)
    assert (recipe.trial, recipe.parameters) == (selected(FRONT[1]), FRONT[1].parameters)
    assert recipe.settings.norm_preservation == "columns"
    assert {edit.matrix.parameter: edit.strength for edit in recipe.edits} == {
        "0.attention.weight": 0.75,
        "1.attention.weight": 1.0,
        "2.attention.weight": 0.75,
        "0.mlp.weight": 0.5,
        "1.mlp.weight": 0.5,
    }
    for edit in recipe.edits:
        assert edit.bias is not None
        assert edit.bias.parameter == edit.matrix.parameter.replace("weight", "bias")
        assert [norm.parameter for norm in edit.norms] == ["norm"]
        assert (edit.direction.index, edit.direction.orthogonalize_to) == (1.5, edit.layer + 1)


def test_a_trial_outside_the_front_is_read_back_from_the_table_exactly(params: Params) -> None:
    recipe = select(params, trial=6)
    assert (recipe.trial, recipe.parameters) == (selected(TRIALS[4]), TRIALS[4].parameters)


def test_a_failed_trial_cannot_be_named(params: Params) -> None:
    with pytest.raises(UnwriteError, match=r"select\.trial is 1,"):
        select(params, trial=1)
    assert not Path("artifacts/edit.json").exists()


def test_the_settings_of_the_front_decide_biases_norms_and_projection(params: Params) -> None:
    front = json.loads(Path("artifacts/front.json").read_text())
    changed = {"edit_bias": False, "post_norm": "ignore", "orthogonalize": "projected"}
    write_json(Path("artifacts/front.json"), front | {"settings": front["settings"] | changed})
    recipe = select(params, max_behaviour_rate=1.0, trial=None)
    assert [edit.bias for edit in recipe.edits] == [None] * 5
    assert [edit.norms for edit in recipe.edits] == [[]] * 5
    assert {edit.direction.orthogonalize_to for edit in recipe.edits} == {None}


def test_the_selected_trial_is_logged(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    select(params, trial=2)
    assert capsys.readouterr().err == (
        "Selected trial 2, rate 4.0 %, KL divergence 0.3 nats (named by number); 5 writers to edit.\n"
    )


def test_a_trial_with_an_impossible_kernel_is_an_expected_error(params: Params) -> None:
    broken = trial(4, 0.0, 0.1).model_copy(
        update={
            "parameters": parameters().model_copy(
                update={"mlp": KERNEL.model_copy(update={"min_weight_distance": -1.0})}
            )
        }
    )
    write_trials([sample_outcome(broken)])
    with pytest.raises(UnwriteError, match=r"^Trial 4: min_weight_distance must be at least 0, got -1\.0\. Run"):
        select(params, trial=4)
