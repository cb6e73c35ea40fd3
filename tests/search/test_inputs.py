"""What a search reads: the files apart from the model, and both."""

import pickle

import pytest
import torch

from tests.search.conftest import float32
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import read_base
from unwrite.search.inputs import load_inputs, read_files, read_inputs

pytestmark = pytest.mark.usefixtures("demo_project")


def test_files_are_the_validation_prompts_the_markers_and_the_directions() -> None:
    files = read_files(float32(), read_base())
    assert files.target == [row.tokens for row in read_tokens("target", "validation")]
    assert files.baseline == [row.tokens for row in read_tokens("baseline", "validation")]
    assert files.markers
    assert files.directions.shape == files.baseline_means.shape == (2, 7, 128)


def test_files_can_be_sent_to_a_worker() -> None:
    files = read_files(float32(), read_base())
    sent = pickle.loads(pickle.dumps(files))
    assert sent.base == files.base
    assert torch.equal(sent.directions, files.directions)


def test_the_model_is_loaded_next_to_them() -> None:
    base = read_base()
    inputs = read_inputs(float32(), base)
    assert (inputs.model.dtype, inputs.tokenizer is not None) == (torch.float32, True)
    other = load_inputs(read_files(float32(), base), pinned_folder(base), "bfloat16", float32().runtime)
    assert other.model.dtype == torch.bfloat16
    assert other.target == inputs.target
