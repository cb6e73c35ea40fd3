"""A model that responds in a worker: an error names the prompt of the whole set, and another release is refused."""

import shutil
from pathlib import Path

import pytest

from tests.support.jobs import TWO
from tests.support.small_project import ROOT
from tests.workers.conftest import base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model
from unwrite.workers.model_setup import ModelSetup
from unwrite.workers.responder import Questions, Responder

PROMPTS = [[5, 6, 7], [8, 9, 10, 11], [5, 9]]


@pytest.fixture
def questions() -> Questions:
    template = (ROOT / "demo/model/chat_template.jinja").read_text()
    return Questions({"baseline": PROMPTS}, template, max_tokens=4, kl_tokens=2)


def test_it_responds_and_diverges_from_itself_by_nothing(project: Path, questions: Questions) -> None:
    responder = Responder(ModelSetup(base(), project, TWO, "float32"), questions)
    rows = [2, 0]
    responses = responder.respond("baseline", rows)
    model = load_model("demo/model", "float32", "cpu")
    alone = generate_greedily(model, PROMPTS, 4, end_ids=responder.find_passes().end_ids)
    assert responses == [alone[2], alone[0]]
    log_probs, mask = responder.force(rows, responses)
    assert log_probs.shape[:2] == mask.shape == (2, 2)
    divergences = responder.compare(rows, responses, log_probs, mask)
    assert divergences.first_token == [0.0, 0.0]
    other = responder.compare(rows, responses, log_probs.flip(0), mask)  # the control
    assert min(other.first_token) > 0


def test_an_error_names_the_prompt_of_the_whole_set(project: Path, questions: Questions) -> None:
    responder = Responder(ModelSetup(base(), project, TWO, "float32"), questions)
    responder._model.get_parameter("model.embed_tokens.weight")[8] = float("nan")
    with pytest.raises(UnwriteError, match=r"for the prompt at index 1\."):
        responder.force([0, 1], [[3], [4]])


def test_another_release_is_refused(project: Path, questions: Questions) -> None:
    setup = ModelSetup(base(), project, TWO, "float32")
    passes = Responder(setup, questions).find_passes()
    shutil.copytree(project / "demo/model", project / "artifacts/model")
    weights = project / "artifacts/model/model.safetensors"
    released = [digest_of(weights)]
    assert Responder(setup, questions, passes, released).find_passes() == passes
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(UnwriteError, match=r"artifacts/model/model\.safetensors has sha256"):
        Responder(setup, questions, passes, released)
