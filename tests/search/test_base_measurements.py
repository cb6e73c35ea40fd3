"""The base model's measurements on the demo: refusals, and layers that trials need not run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.search.conftest import float32, prepared, with_runtime
from tests.support.samples import sample_trial
from unwrite.errors import UnwriteError
from unwrite.models.lower_layers import LowerLayers
from unwrite.schema.artifacts import Kernel, read_base

pytestmark = pytest.mark.usefixtures("demo_project")

LATE = Kernel(max_weight=1.2, max_weight_position=4.5, min_weight=0.5, min_weight_distance=1.5)
TRIALS = [
    sample_trial(direction_scope="per_layer", attention=LATE, mlp=LATE).parameters,
    sample_trial(direction_scope="global", direction_index=3.5, attention=LATE, mlp=LATE).parameters,
]


def test_trials_measure_the_same_bits_without_the_layers_below_their_edits() -> None:
    objective = prepared(with_runtime(backend="weights"), read_base())
    assert objective.context.target_layers is not None
    resumed: list[int] = []
    ran = LowerLayers.resuming

    def watched(layers: LowerLayers, rows: Sequence[int], layer: int) -> object:
        resumed.append(layer)
        return ran(layers, rows, layer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LowerLayers, "resuming", watched)
        results = objective.evaluate(TRIALS)
    assert set(resumed) == {3}
    objective.context = objective.context._replace(target_layers=None, forced_layers=None)
    assert objective.evaluate(TRIALS) == results


def test_layers_are_run_where_leaving_them_out_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def off_by_one(layers: LowerLayers, rows: Sequence[int], layer: int) -> Iterator[None]:
        with ran(layers, rows, layer - 1):
            module = layers._layers[layer - 1]
            handle = module.register_forward_hook(lambda _module, _args, output: output * 1.001)
            yield
            handle.remove()

    ran = LowerLayers.resuming
    monkeypatch.setattr(LowerLayers, "resuming", off_by_one)
    context = prepared(float32(), read_base()).context
    assert (context.target_layers, context.forced_layers) == (None, None)


def test_most_base_responses_have_settled_before_a_trial_is_given_up() -> None:
    context = prepared(float32(), read_base()).context
    assert 1 <= context.settled_tokens < context.max_tokens


def test_a_base_without_the_behaviour_is_refused(tmp_path: Path) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text("a phrase that is never said\n")
    params = float32()
    other = params.model_copy(update={"judge": params.judge.model_copy(update={"markers": str(markers)})})
    with pytest.raises(UnwriteError, match="None of the 8 target validation prompts shows the behaviour"):
        prepared(other, read_base())


def test_a_marker_that_every_text_contains_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text("sorry\n**\n")
    params = float32()
    other = params.model_copy(update={"judge": params.judge.model_copy(update={"markers": str(markers)})})
    expected = r"line 2: the marker '\*\*' is empty once normalized.*\. Remove the line"
    with pytest.raises(UnwriteError, match=expected):
        prepared(other, read_base())
