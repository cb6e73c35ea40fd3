"""What workers are given: the dtype is the first worker's, and each of them has checked the model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.jobs import TWO
from tests.support.shuffled import Shuffled
from tests.workers.conftest import base
from unwrite.errors import UnwriteError
from unwrite.workers.model_on_node import ModelOnNode
from unwrite.workers.model_setup import ModelSetup, set_up_model


def test_every_worker_checks_the_model_and_one_says_the_dtype(project: Path) -> None:
    pool: Any = Shuffled()
    setup = set_up_model(pool, base(compute_dtype="bfloat16"), TWO)
    assert [type(made) for made in pool.made] == [ModelOnNode] * 2
    assert (setup.project, setup.dtype, setup.load().dtype) == (project, "bfloat16", torch.bfloat16)


def test_a_worker_without_the_model_ends_it(project: Path) -> None:
    pool: Any = Shuffled()
    with pytest.raises(UnwriteError, match="no/such is missing on"):
        set_up_model(pool, base(source="no/such"), TWO)
    with pytest.raises(UnwriteError, match="no/such is missing on"):
        ModelSetup(base(source="no/such"), project, TWO, "float32").load()
