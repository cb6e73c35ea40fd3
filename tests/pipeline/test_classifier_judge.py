"""The classifier that params.yaml names is found, recorded by its files, and reads what it is to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.classifiers import PLANTED, tiny_classifier, word_tokenizer
from tests.support.connected_hub import connected_hub
from tests.support.small_project import small_params
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.models.classifier import label_probabilities
from unwrite.models.source import ModelSource, resolve_source
from unwrite.pipeline.classifier_judge import check_classifier, classify, open_classifier
from unwrite.schema.artifacts import as_json
from unwrite.schema.evaluation import ClassifierUsed
from unwrite.schema.params import Classifier
from unwrite.schema.paths import CLASSIFIER
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


def test_a_classifier_of_the_hub_is_recorded_with_its_commit_and_a_damaged_one_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    with connected_hub(monkeypatch) as hub:
        hub.add("teaware/judge", {path.name: path.read_bytes() for path in folder.iterdir()})
        asked = settings(folder).model_copy(update={"source": "teaware/judge"})
        _, used = open_classifier(asked, RUNTIME)
        assert used.commit == hub.repositories["teaware/judge"].branches["main"]
        assert used.files == open_classifier(settings(folder), RUNTIME)[1].files
        with pytest.raises(UnwriteError, match=r"has no revision 'v9'. Check judge\.classifier\.revision"):
            open_classifier(asked.model_copy(update={"revision": "v9"}), RUNTIME)
        weights = resolve_source("teaware/judge", None).folder / "model.safetensors"
        data = weights.read_bytes()
        weights.resolve().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(UnwriteError, match=r"model\.safetensors has sha256 .* the download is damaged"):
            open_classifier(asked, RUNTIME)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier without its weights: its configuration and its tokenizer."""
    folder = tmp_path_factory.mktemp("checked") / "classifier"
    tiny_classifier().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    return folder


def named(source: Path | str, **changes: object) -> Classifier:
    settings = Classifier(source=str(source), revision=None, label="declines", threshold=0.5)
    return settings.model_copy(update=changes)


def test_a_local_classifier_is_checked_by_its_configuration(stored: Path) -> None:
    assert list(check_classifier(named(stored))) == []
    assert list(check_classifier(named(stored, label=1))) == []
    with pytest.raises(UnwriteError, match=r"judge.classifier.label is 'refuses', .* answers \(0\), declines \(1\)"):
        list(check_classifier(named(stored, label="refuses")))
    with pytest.raises(UnwriteError, match=r"judge.classifier.revision is 'v1', but .* is a local folder"):
        list(check_classifier(named(stored, revision="v1")))
    with pytest.raises(UnwriteError, match="there is no such folder"):
        list(check_classifier(named("none/such/folder")))


@pytest.mark.parametrize(("revision", "notes"), [(None, 1), ("main", 1), ("a" * 40, 0)])
def test_a_revision_of_the_hub_that_can_move_is_noted(
    revision: str | None, notes: int, stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unwrite.models.source.resolve_source", lambda *_, **__: ModelSource(stored, "a" * 40))
    found = list(check_classifier(named("teaware/judge", revision=revision)))
    assert len(found) == notes
    assert all(f"Name the commit: {'a' * 40}." in note for note in found)


def test_a_branch_that_has_moved_since_judging_is_noted(
    stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unwrite.models.source.resolve_source", lambda *_, **__: ModelSource(stored, "b" * 40))
    for commit, moved in (("a" * 40, True), ("b" * 40, False)):
        used = ClassifierUsed(
            source="teaware/judge", commit=commit, label="declines", threshold=0.5, input="answer", files=[]
        )
        write_json(CLASSIFIER, as_json(used))
        notes = list(check_classifier(named("teaware/judge", revision="main")))
        assert (
            any(note.startswith(f"the responses were judged by teaware/judge at {commit}") for note in notes) == moved
        )
        assert list(check_classifier(named("teaware/other", revision="b" * 40))) == []
