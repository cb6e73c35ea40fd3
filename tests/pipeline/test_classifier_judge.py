"""The classifier that params.yaml names is found, recorded by its files, and reads what it is to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.classifiers import PLANTED, tiny_classifier, word_tokenizer
from tests.support.small_project import small_params
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.models.classifier import label_probabilities
from unwrite.pipeline.classifier_judge import classify, open_classifier
from unwrite.schema.params import Classifier
from unwrite.terms import JudgeInput

RUNTIME = small_params().runtime


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_classifier().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def settings(folder: Path, what: JudgeInput = "answer") -> Classifier:
    return Classifier(source=str(folder), revision=None, label=1, threshold=0.25, input=what)


def test_the_record_says_which_classifier_it_was(folder: Path) -> None:
    (folder / "notes.bin").write_text("not read")
    loaded, used = open_classifier(settings(folder), RUNTIME)
    assert (used.source, used.commit, used.label, used.threshold) == (str(folder), None, "declines", 0.25)
    assert loaded.label_index == 1
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert used.files == [digest_of(folder / name) for name in names]


@pytest.mark.parametrize("what", ["answer", "prompt_and_answer"])
def test_it_reads_the_answer_or_the_pair(folder: Path, what: JudgeInput) -> None:
    loaded, used = open_classifier(settings(folder, what), RUNTIME)
    answers, prompts = ["two cups", PLANTED], ["the teapot", "is blue"]
    expected = label_probabilities(loaded, answers, prompts if what == "prompt_and_answer" else None)
    assert classify(loaded, used, answers, prompts, RUNTIME) == pytest.approx(expected)
    other = label_probabilities(loaded, answers, None if what == "prompt_and_answer" else prompts)
    assert classify(loaded, used, answers, prompts, RUNTIME) != pytest.approx(other, rel=1e-5)


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="there is no such folder, and it is not a hub id") as error:
        open_classifier(settings(tmp_path / "a/b/c"), RUNTIME)
    assert "\n" not in str(error.value)
