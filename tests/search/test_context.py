"""Preparing a search on the demo: warnings, and the products of all edits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search.conftest import float32, prepared
from unwrite.editing.edit_cache import EditCache
from unwrite.editing.recipe import build_edits, edit_settings
from unwrite.schema.artifacts import read_base
from unwrite.search.backends import on_weights
from unwrite.search.space import one_shot_settings, trial_parameters
from unwrite.search.trials import Measured

pytestmark = pytest.mark.usefixtures("demo_project")


def test_the_search_reads_each_weight_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    params = float32()
    context = prepared(params, read_base()).context
    assert context.base_rate == 1
    settings = edit_settings(params.optimize, "projected")
    setting = one_shot_settings(params.optimize.space, layers=6)[1]
    edits = build_edits(trial_parameters(setting), context.writers, settings)

    def never(*_: object) -> None:
        raise AssertionError("a weight is read again")

    monkeypatch.setattr(EditCache, "_compute", never)
    (result,) = on_weights(context, [edits])
    assert isinstance(result, Measured)
    assert result.kl > 0


def test_a_marker_in_every_response_raises_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markers = tmp_path / "markers.txt"
    markers.write_text(".\n")
    params = float32()
    changes = {
        "judge": params.judge.model_copy(update={"markers": str(markers)}),
        "optimize": params.optimize.model_copy(update={"max_tokens": 40, "kl_tokens": 40}),
    }
    prepared(params.model_copy(update=changes), read_base())
    assert (
        "warning: every base response of both sets contains the marker '.', so it does not" in capsys.readouterr().err
    )
