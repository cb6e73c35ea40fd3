"""PaCMAP's layout is turned to be like another one; the package itself is an extra, so a stand-in lays out here."""

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from unwrite.errors import UnwriteError, missing_package
from unwrite.evaluation.pacmap_layout import pacmap_layout


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that returns the first two components: rotated, mirrored and moved."""

    class Fitted:
        def __init__(self, **settings: Any) -> None:
            assert settings == {"n_components": 2, "random_state": 0}

        def fit_transform(self, x: Any) -> Any:
            turn = torch.tensor([[math.cos(2), math.sin(2)], [math.sin(2), -math.cos(2)]])
            return (torch.from_numpy(x)[:, :2] @ turn + 30).numpy()

    module = ModuleType("pacmap")
    module.PaCMAP = Fitted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pacmap", module)


def test_rotation_and_reflection_are_undone(stand_in: None) -> None:
    residuals = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    like = residuals[:, :2] - residuals[:, :2].mean(0)
    assert torch.allclose(pacmap_layout(residuals, like), like, atol=1e-4)
    assert torch.allclose(pacmap_layout(residuals, like.flip(-1)), like.flip(-1), atol=1e-4)


def test_equal_residuals_are_one_point(stand_in: None) -> None:
    assert not pacmap_layout(torch.ones(6, 5), torch.zeros(6, 2)).any()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pacmap", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        pacmap_layout(torch.eye(4), torch.zeros(4, 2))
    error = missing_package("measure_geometry", caught.value)
    assert isinstance(error, UnwriteError)
    assert str(error) == "measure_geometry needs PaCMAP: pip install 'unwrite[maps]'."
