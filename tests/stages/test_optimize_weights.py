import csv
from pathlib import Path
from typing import Any

import pytest

from stages.compute_directions import compute_directions
from stages.extract_residuals import extract
from stages.optimize_weights import optimize_weights
from stages.pin_model import pin_model
from stages.tokenize_prompts import tokenize_prompts
from unwrite.artifacts import Front, read_artifact
from unwrite.errors import UnwriteError
from unwrite.measure import measure_divergence
from unwrite.params import Params
from unwrite.trials import read_trials

FRONT = Path("artifacts/front.json")


def with_optimize(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"optimize": params.optimize.model_copy(update=changes)})


def test_every_trial_is_recorded_with_its_parameters_objectives_and_seconds(project: Path) -> None:
    with Path("artifacts/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    kernel = ("max_weight", "max_weight_position", "min_weight", "min_weight_distance")
    names = {f"{component}.{name}" for component in ("attention", "mlp") for name in kernel}
    assert names | {"behaviour_rate", "divergence", "seconds", "direction_scope", "position"} <= set(rows[0])
    for row in rows:
        assert 0 <= float(row["behaviour_rate"]) <= 1
        assert float(row["divergence"]) >= 0
        assert float(row["seconds"]) > 0


def test_the_front_is_of_the_trials(project: Path) -> None:
    front = read_artifact(Front, FRONT, "optimize_weights")
    assert front.base_behaviour_rate == 1
    assert front.trials
    assert all(trial in read_trials() for trial in front.trials)


@pytest.mark.parametrize("post_norm", ["compensate", "ignore"])
def test_the_front_says_what_all_trials_have_in_common(project: Path, params: Params, post_norm: str) -> None:
    optimize_weights(with_optimize(params, trials=1, norm_preservation="pre", edit_bias=False, post_norm=post_norm))
    front = read_artifact(Front, FRONT, "optimize_weights")
    assert (front.norm_preservation, front.edit_bias, front.post_norm) == ("pre", False, post_norm)


def test_the_search_removes_the_behaviour_it_was_given(project: Path, params: Params) -> None:
    splits = params.tokenize.splits.model_copy(update={"train": 200})
    many = params.model_copy(
        update={
            "tokenize": params.tokenize.model_copy(update={"splits": splits}),
            "residuals": params.residuals.model_copy(update={"positions": (-1,)}),
        }
    )
    for earlier in (tokenize_prompts, extract, compute_directions):
        earlier(many)
    exact = params.optimize.space.attention.model_copy(
        update={
            "max_weight": (1.0, 1.0),
            "min_weight": (1.0, 1.0),
            "max_weight_position": (0.5, 0.5),
            "min_weight_distance": (1.0, 1.0),
        }
    )
    space = params.optimize.space.model_copy(
        update={"attention": exact, "mlp": exact, "direction_scope": ("global",), "direction_index": (0.6, 0.6)}
    )
    optimize_weights(with_optimize(params, trials=1, space=space))
    (trial,) = read_trials()
    assert trial.behaviour_rate <= 0.25
    nothing = exact.model_copy(update={"max_weight": (0.0, 0.0)})
    control = space.model_copy(update={"attention": nothing, "mlp": nothing})
    optimize_weights(with_optimize(params, trials=1, space=control))
    (trial,) = read_trials()
    assert (trial.behaviour_rate, trial.divergence) == (1, 0)


def test_nothing_to_remove(project: Path, params: Params) -> None:
    Path(params.judge.markers).write_text("a phrase that nobody says\n")
    FRONT.unlink()
    with pytest.raises(UnwriteError, match="None of the 8 target validation prompts shows the behaviour"):
        optimize_weights(params)
    assert not FRONT.exists()


def test_no_marker(project: Path, params: Params) -> None:
    Path(params.judge.markers).write_text("# only a comment\n")
    with pytest.raises(UnwriteError, match="holds no marker"):
        optimize_weights(params)


def test_a_span_beyond_the_last_layer(project: Path, params: Params) -> None:
    space = params.optimize.space.model_copy(update={"spans": ((3, 2, 6),), "direction_scope": ("spans",)})
    with pytest.raises(UnwriteError, match=r"names layer 6; the model's layers are 0–5"):
        optimize_weights(with_optimize(params, space=space))


def test_if_every_trial_fails_the_stage_fails_with_the_reason(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UnwriteError("logits are NaN")

    FRONT.unlink()
    monkeypatch.setattr("stages.optimize_weights.measure_divergence", fail)
    with pytest.raises(UnwriteError, match="3 of 3 trials failed, 3 of them so: logits are NaN"):
        optimize_weights(params)
    assert not FRONT.exists()


def test_another_dtype_is_not_the_pinned_one(project: Path, params: Params) -> None:
    wide = params.model_copy(update={"model": params.model.model_copy(update={"dtype": "float32"})})
    before = read_trials()
    pin_model(wide)
    optimize_weights(params)
    after = read_trials()
    assert [trial.parameters for trial in after] == [trial.parameters for trial in before]
    assert [trial.divergence for trial in after] != [trial.divergence for trial in before]


def test_the_divergence_counts_as_many_tokens_as_asked(project: Path, params: Params) -> None:
    optimize_weights(with_optimize(params, kl_tokens=1))
    first = [trial.divergence for trial in read_trials()]
    optimize_weights(with_optimize(params, kl_tokens=6))
    longer = [trial.divergence for trial in read_trials()]
    assert all(one != six for one, six in zip(first, longer, strict=True))


def test_failed_trials_are_spoken_of(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[None] = []

    def fail_once(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise UnwriteError("logits are NaN")
        return measure_divergence(*arguments)

    monkeypatch.setattr("stages.optimize_weights.measure_divergence", fail_once)
    optimize_weights(params)
    assert "warning: 1 of 3 trials failed, 1 of them so: logits are NaN" in capsys.readouterr().err
    assert [trial.number for trial in read_trials()] == [0, 2]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_directions_that_cannot_be_read(project: Path, params: Params, damage: str) -> None:
    path = Path("artifacts/directions.safetensors")
    path.unlink() if damage == "missing" else path.write_bytes(b"nonsense")
    with pytest.raises(UnwriteError, match=rf"{damage}.*compute_directions"):
        optimize_weights(params)
