"""The records of the geometry: how the directions lie, and how well they separate the prompt sets."""

from __future__ import annotations

from unwrite.schema.artifacts import Artifact
from unwrite.terms import MapProjection

GEOMETRY_FIGURES = (
    "auc_train",
    "auc_validation",
    "separation_train",
    "separation_validation",
    "silhouette_train",
    "silhouette_validation",
    "cosine_to_previous",
    "direction_norm",
    "mean_target_norm",
    "mean_baseline_norm",
    "mean_difference_norm",
    "mean_cosine_target_baseline",
    "mean_cosine_target_direction",
    "mean_cosine_baseline_direction",
    "median_target_norm",
    "median_baseline_norm",
    "median_difference_norm",
    "median_cosine_target_baseline",
    "median_cosine_target_direction",
    "median_cosine_baseline_direction",
    "winsorized_share",
    "largest_component",
    "largest_winsorized",
    "share_x",
    "share_y",
)
"""The figures of `artifacts/plots/geometry.csv`, in the order of its columns."""


class SeparatedIndex(Artifact):
    """The position and residual index that separate the validation prompts best; None for a figure without a value.

    `auc`, `separation` and `silhouette` are of validation prompts; `auc_train` is of the training prompts.
    """

    position: int
    residual_index: int
    auc: float
    auc_train: float
    separation: float | None
    silhouette: float | None


class Thinned(Artifact):
    """How many prompts of a set and split were used, of how many."""

    used: int
    of: int


class Geometry(Artifact):
    """`artifacts/geometry.json`: the best separated direction, and which prompts silhouettes and maps are made from.

    `silhouette` and `map` name sets and splits such as `target.train`.
    """

    best_separated: SeparatedIndex
    projection: MapProjection
    silhouette: dict[str, Thinned]
    map: dict[str, Thinned]
