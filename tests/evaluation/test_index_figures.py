"""One residual index measured whole: every figure by its name, validation prompts apart from the training prompts."""

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from unwrite.core.index_geometry import PromptSets
from unwrite.evaluation.index_figures import AtIndex, IndexFigures, MeasuredResiduals, measure_index
from unwrite.schema.geometry_records import GEOMETRY_FIGURES

WIDTH = 400


def noise(seed: int, n: int, shift: float = 0.0) -> PromptSets:
    generator = torch.Generator().manual_seed(seed)
    target, baseline = (torch.randn(n, WIDTH, generator=generator) for _ in range(2))
    target[:, 3] += shift
    return PromptSets(target, baseline)


def splits(shift: float = 0.0) -> MeasuredResiduals:
    return {"train": noise(0, 24, shift), "validation": noise(1, 20, shift)}


def at_index(train: PromptSets) -> AtIndex:
    target, baseline = (x.double().mean(0) for x in train)
    difference = target - baseline
    direction = difference / difference.norm() if float(difference.norm()) > 0 else difference
    return AtIndex(direction, None, target, baseline)


def measured(residuals: MeasuredResiduals, at: AtIndex | None = None, **changes: Any) -> IndexFigures:
    settings: dict[str, Any] = {
        "quantile": 1.0,
        "silhouette_prompts": 100,
        "map_prompts": 100,
        "projection": "pca",
        "earlier": None,
    }
    return measure_index(residuals, at or at_index(residuals["train"]), **(settings | changes))


def test_every_figure_is_there_in_the_order_of_the_columns() -> None:
    assert tuple(measured(splits()).figures) == GEOMETRY_FIGURES


def test_noise_is_separated_on_training_prompts_alone_and_a_planted_direction_on_both() -> None:
    figures = measured(splits()).figures
    assert figures["auc_train"] == 1
    assert figures["auc_validation"] == pytest.approx(0.5, abs=0.3)
    planted = measured(splits(20.0)).figures
    assert (planted["auc_train"], planted["auc_validation"]) == (1, 1)
    assert planted["silhouette_validation"] > figures["silhouette_validation"] + 0.05


def test_the_norm_of_the_direction_is_the_length_of_the_difference_along_it() -> None:
    residuals = splits(5.0)
    at = at_index(residuals["train"])
    assert measured(residuals).figures["direction_norm"] == pytest.approx(
        measured(residuals).figures["mean_difference_norm"]
    )
    half = at.direction * 0.5**0.5 + torch.nn.functional.normalize(torch.eye(WIDTH).double()[0], dim=0) * 0.5**0.5
    part = measured(residuals, at._replace(direction=half / half.norm())).figures
    assert part["direction_norm"] < 0.95 * part["mean_difference_norm"]


def test_the_direction_before_is_compared() -> None:
    residuals = splits()
    at = at_index(residuals["train"])
    assert math.isnan(measured(residuals, at).figures["cosine_to_previous"])
    assert measured(residuals, at._replace(previous=-at.direction)).figures["cosine_to_previous"] == pytest.approx(-1)


def test_equal_residuals_have_no_direction_and_no_map() -> None:
    constant = PromptSets(torch.full((3, WIDTH), 0.1), torch.full((3, WIDTH), 0.1))
    found = measured({"train": constant, "validation": constant})
    figures = found.figures
    assert [figures[f"{name}_validation"] for name in ("auc", "separation", "silhouette")] == [0.5, 0, 0]
    assert {(point.x, point.y) for point in found.points} == {(0, 0)}
    assert (figures["direction_norm"], figures["share_x"], figures["share_y"]) == (0, 0, 0)


def test_single_validation_prompts_have_an_auc_and_neither_spread_nor_silhouette() -> None:
    figures = measured({"train": noise(0, 5), "validation": noise(1, 1)}).figures
    assert figures["auc_validation"] in {0, 1}
    assert math.isnan(figures["separation_validation"])
    assert math.isnan(figures["silhouette_validation"])


def test_points_are_thinned_evenly_and_keep_their_numbers() -> None:
    residuals = splits(3.0)
    every, some = measured(residuals), measured(residuals, map_prompts=4)
    assert len(every.points) == 2 * 24 + 2 * 20
    assert [(p.set, p.split, p.prompt) for p in some.points[:4]] == [("target", "train", n) for n in (0, 6, 12, 18)]
    assert set(some.points) <= set(every.points)
    assert some.figures == pytest.approx(every.figures, nan_ok=True, rel=0, abs=0)


def test_a_residual_that_is_not_finite_is_named() -> None:
    residuals = splits()
    residuals["validation"].baseline[7, 9] = torch.inf
    with pytest.raises(ValueError, match="in 1 of 20 baseline validation prompts, first in prompt 7"):
        measured(residuals)


def test_massive_activations_are_clamped_before_anything_is_measured() -> None:
    residuals = splits(20.0)
    for sets in residuals.values():
        sets.target[::2, 50] = 1e5
    raw, clamped = measured(residuals).figures, measured(residuals, quantile=0.99).figures
    assert (raw["largest_winsorized"], clamped["largest_component"]) == (1e5, 1e5)
    assert clamped["largest_winsorized"] < 30
    assert raw["share_y"] + raw["share_x"] > 0.999  # nothing else can be seen beside them
    assert clamped["share_y"] < 0.5


def test_another_layout_keeps_the_figures_and_changes_the_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fitted:
        def __init__(self, **_: Any) -> None: ...

        def fit_transform(self, x: Any) -> Any:
            return 2 * x[:, :2]

    module = ModuleType("pacmap")
    module.PaCMAP = Fitted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pacmap", module)
    residuals = splits(3.0)
    pca, other = measured(residuals), measured(residuals, projection="pacmap")
    assert math.isnan(other.figures["share_x"])
    assert other.figures["auc_validation"] == pca.figures["auc_validation"]
    assert [p[:3] for p in other.points] == [p[:3] for p in pca.points]
    assert other.points != pca.points


def test_maps_of_neighbouring_indices_do_not_flip() -> None:
    residuals = splits(3.0)
    first = measured(residuals)
    again = measured(residuals, earlier=-first.coordinates)
    both: list[Tensor] = [first.coordinates[:, 1], again.coordinates[:, 1]]
    assert torch.equal(both[0], -both[1])
