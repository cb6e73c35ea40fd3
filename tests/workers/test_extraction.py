"""Residuals from workers: those of one process, and an error names set and prompt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.jobs import TWO
from tests.support.shuffled import Shuffled
from tests.workers.conftest import base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.models.loading import load_model
from unwrite.models.residuals import extract_residuals
from unwrite.terms import SetName, SplitName
from unwrite.workers.extraction import residuals_from_workers
from unwrite.workers.model_setup import ModelSetup

PROMPTS: dict[tuple[SetName, SplitName], list[list[int]]] = {
    ("target", "train"): [[5, 6, 7], [8, 9, 10, 11], [5, 9], [7, 7, 7]],
    ("baseline", "train"): [[9, 6], [12, 13, 14]],
}
SMALL = TWO.model_copy(update={"batch_tokens": 6})


def test_each_row_has_its_residuals(project: Path) -> None:
    pool: Any = Shuffled()
    found = residuals_from_workers(pool, ModelSetup(base(), project, SMALL, "float32"), PROMPTS, (-1, -2))
    model = load_model(project / "demo/model", "float32", "cpu")
    assert found.keys() == PROMPTS.keys()
    for key, prompts in PROMPTS.items():
        expected = extract_residuals(model, prompts, (-1, -2))
        assert found[key].shape == expected.shape
        torch.testing.assert_close(found[key], expected)  # other batches round differently


def test_an_error_names_the_set_and_the_prompt_of_the_whole_set(project: Path) -> None:
    weights = project / "demo/model/model.safetensors"
    tensors = load_file(weights)
    tensors["model.embed_tokens.weight"][13] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
    pinned = base(files=[digest_of(weights)])
    pool: Any = Shuffled()
    with pytest.raises(UnwriteError, match=r"^baseline train prompts: The residual of the prompt at index 1 is NaN"):
        residuals_from_workers(pool, ModelSetup(pinned, project, SMALL, "float32"), PROMPTS, (-1,))


def test_a_batch_that_workers_died_of_ends_it(project: Path) -> None:
    pool: Any = Shuffled(lost=1)
    with pytest.raises(UnwriteError, match="3 workers died of it"):
        residuals_from_workers(pool, ModelSetup(base(), project, SMALL, "float32"), PROMPTS, (-1,))
