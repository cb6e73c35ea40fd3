"""Only the three tensors of a directions file, floating-point and of one shape, are accepted."""

import pytest
import torch
from torch import Tensor

from unwrite.files.direction_tensors import DIRECTION_TENSORS, wrong_directions


def directions() -> dict[str, Tensor]:
    return {name: torch.zeros(1, 3, 4) for name in DIRECTION_TENSORS}


def test_right_tensors_are_accepted() -> None:
    assert wrong_directions(directions()) is None
    assert wrong_directions({name: tensor.half() for name, tensor in directions().items()}) is None


@pytest.mark.parametrize(
    ("tensors", "got"),
    [
        ({}, "nothing"),
        ({"residuals": torch.zeros(2, 2)}, "residuals [2, 2]"),
        (
            directions() | {"more": torch.zeros(1, 3, 4)},
            "directions [1, 3, 4], more [1, 3, 4]",
        ),
        (directions() | {"directions": torch.zeros(1, 2, 4)}, "directions [1, 2, 4]"),
        ({name: torch.zeros(3, 4) for name in directions()}, "directions [3, 4]"),
        ({name: torch.zeros(1, 3, 4, dtype=torch.int64) for name in directions()}, "directions [1, 3, 4] (int64)"),
        ({f"{number}": torch.zeros(1) for number in range(9)}, "3 [1], …"),
    ],
    ids=["empty", "other", "one more", "two shapes", "no positions", "integers", "a model"],
)
def test_anything_else_is_described(tensors: dict[str, Tensor], got: str) -> None:
    problem = wrong_directions(tensors)
    assert problem is not None
    assert problem.startswith("must hold baseline_mean, directions, target_mean of one shape")
    assert got in problem.partition("got ")[2]
