"""Trials and their edits on a small model: six layers with one writer of each component, followed by a norm."""

from __future__ import annotations

from typing import Any

from tests.support.samples import sample_settings, sample_writers
from unwrite.editing.recipe import Spans, build_edits
from unwrite.schema.artifacts import Edit, Kernel, Norm, TrialParameters, Writer
from unwrite.terms import Scope

LAYERS, D, K = 6, 8, 5
FLAT = Kernel(max_weight=1.0, max_weight_position=3.0, min_weight=1.0, min_weight_distance=100.0)
OFF = Kernel(max_weight=0.0, max_weight_position=3.0, min_weight=0.0, min_weight_distance=100.0)
NORM = Norm(parameter="norm", tensor="stored.norm", offset=1.0)


def trial(
    scope: Scope = "global", index: float = 2.5, position: int = 0, attention: Kernel = FLAT, mlp: Kernel = FLAT
) -> TrialParameters:
    return TrialParameters(
        direction_scope=scope, direction_index=index, position=position, attention=attention, mlp=mlp
    )


def writers(layers: int = LAYERS, bias: bool = False, **changes: Any) -> list[Writer]:
    return sample_writers(layers, shape=(D, K), bias=bias, **changes)


def build(parameters: TrialParameters, spans: Spans = (), **changes: Any) -> list[Edit]:
    return build_edits(parameters, writers(bias=True, norms=[NORM]), sample_settings(spans=list(spans), **changes))
