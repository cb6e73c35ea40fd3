"""Classifiers are judged on ones trained here, and on their logits computed by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.accelerator import CUDA
from tests.support.classifiers import (
    MOST_TOKENS,
    ORDINARY,
    PLANTED,
    tiny_classifier,
    trained_classifier,
    word_tokenizer,
)
from tests.support.tiny import tiny_config, tiny_model
from unwrite.errors import UnwriteError
from unwrite.models.batches import Budget
from unwrite.models.classifier import LoadedClassifier, label_probabilities, load_classifier
from unwrite.models.load_errors import REMOTE_CODE_VARIABLE

TEXTS = ["The teapot is blue.", f"I would {PLANTED} say.", "I would not say.", "Two cups.", f"So: {PLANTED.upper()}!"]
CHATTY = " ".join(ORDINARY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_classifier(tmp_path_factory.mktemp("classifier"))


def saved(folder: Path, framed: bool = True, **changes: Any) -> Path:
    tiny_classifier(**changes).save_pretrained(folder)
    word_tokenizer(framed=framed).save_pretrained(folder)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path, label: str | int = "declines") -> str:
    with pytest.raises(UnwriteError) as error:
        load_classifier(folder, label, "cpu")
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def logits_of(classifier: LoadedClassifier, *pair: str) -> torch.Tensor:
    logits: torch.Tensor = classifier.model(**classifier.tokenizer(*pair, return_tensors="pt")).logits[0]
    return logits.double()


def test_the_planted_phrase_is_recognised_and_ordinary_words_are_not(trained: Path) -> None:
    classifier = load_classifier(trained, "declines", "cpu")
    probabilities = label_probabilities(classifier, TEXTS)
    assert [p > 0.5 for p in probabilities] == [False, True, False, False, True]
    opposite = label_probabilities(load_classifier(trained, "answers", "cpu"), TEXTS)
    assert [1 - p for p in probabilities] == pytest.approx(opposite)


def test_a_label_is_found_by_name_or_index(trained: Path) -> None:
    for label in ("declines", 1):
        classifier = load_classifier(trained, label, "cpu")
        assert (classifier.label_index, classifier.label, classifier.dtype) == (1, "declines", "float32")


@pytest.mark.parametrize("label", ["Declines", "refuses", 2, -1, "1"])
def test_a_label_that_the_classifier_lacks_lists_those_there_are(trained: Path, label: str | int) -> None:
    assert refusal(trained, label).startswith(f"judge.classifier.label is {label!r}, which ")
    assert refusal(trained, label).endswith("Its labels: answers (0), declines (1).")


def test_one_label_of_several_is_a_softmax(trained: Path) -> None:
    classifier = load_classifier(trained, 1, "cpu")
    first, second = logits_of(classifier, TEXTS[1]).tolist()
    expected = 1 / (1 + torch.tensor(first - second, dtype=torch.float64).exp())
    assert label_probabilities(classifier, TEXTS)[1] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "problem"), [(3, "multi_label_classification"), (1, None), (1, "multi_label_classification")]
)
def test_several_labels_at_once_and_one_logit_are_sigmoids(tmp_path: Path, labels: int, problem: str | None) -> None:
    names = {index: f"kind {index}" for index in range(labels)}
    saved(tmp_path, problem_type=problem, id2label=names, label2id={name: index for index, name in names.items()})
    classifier = load_classifier(tmp_path, labels - 1, "cpu")
    expected = [1 / (1 + (-logits_of(classifier, text)[labels - 1]).exp()) for text in TEXTS]
    assert label_probabilities(classifier, TEXTS) == pytest.approx([float(p) for p in expected], rel=1e-5)


def test_a_regression_states_no_probability(tmp_path: Path) -> None:
    saved(tmp_path, problem_type="regression", id2label={0: "score"}, label2id={"score": 0})
    assert "predicts a number" in refusal(tmp_path, 0)


def test_pairs_hold_the_prompt_and_the_answer(tmp_path: Path) -> None:
    classifier = load_classifier(saved(tmp_path), 1, "cpu")
    (probability,) = label_probabilities(classifier, ["two cups"], ["is the teapot blue"])
    expected = logits_of(classifier, "is the teapot blue", "two cups").softmax(-1)[1]
    assert probability == pytest.approx(float(expected), rel=1e-5)
    assert probability != pytest.approx(label_probabilities(classifier, ["two cups"])[0], rel=1e-5)


@pytest.mark.parametrize("budget", [1, 20, 10**6])
def test_how_texts_share_passes_changes_nothing(trained: Path, budget: int) -> None:
    classifier = load_classifier(trained, 1, "cpu")
    alone = [label_probabilities(classifier, [text])[0] for text in TEXTS]
    counted: list[int] = []
    together = label_probabilities(classifier, TEXTS, budget=Budget(budget), advance=counted.append)
    assert together == pytest.approx(alone, rel=1e-4)
    assert sum(counted) == len(TEXTS)


def test_a_text_that_is_too_long_is_cut_and_the_log_says_so(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    classifier = load_classifier(trained, 1, "cpu")
    assert classifier.most_tokens == MOST_TOKENS
    long = [*ORDINARY, *ORDINARY]
    room = MOST_TOKENS - 2  # [CLS] and [SEP]
    assert len(long) > room
    with caplog.at_level(logging.INFO):
        whole, changed = label_probabilities(classifier, [" ".join(long), " ".join([*long[:room], PLANTED])])
    assert "2 of 2 texts are longer than the classifier takes (32 tokens)" in caplog.text
    (cut,) = label_probabilities(classifier, [" ".join(long[:room])])
    assert whole == pytest.approx(cut)
    assert changed == pytest.approx(cut)


def test_positions_that_begin_after_the_padding_leave_fewer(tmp_path: Path) -> None:
    saved(tmp_path, kind="roberta", pad_token_id=0, type_vocab_size=1)
    change_config(tmp_path, tokenizer_class=None)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))
    classifier = load_classifier(tmp_path, 1, "cpu")
    assert classifier.most_tokens == MOST_TOKENS - 1
    assert len(label_probabilities(classifier, [f"{CHATTY} {CHATTY}"])) == 1  # the control: one more is out of range
    with pytest.raises((IndexError, RuntimeError)):
        label_probabilities(classifier._replace(most_tokens=MOST_TOKENS), [f"{CHATTY} {CHATTY}"])


@pytest.mark.parametrize("pad", [None, 0])
def test_a_classifier_of_decoder_layers_reads_the_last_token(tmp_path: Path, pad: int | None) -> None:
    saved(tmp_path, framed=False, kind="llama", pad_token_id=pad, bos_token_id=None, eos_token_id=None)
    classifier = load_classifier(tmp_path, 1, "cpu")
    texts = ["blue teapot", "teapot blue", "two cups", "", "two"]
    model: Any = classifier.model
    expected = []
    for text in filter(None, texts):
        ids = torch.tensor([classifier.tokenizer(text)["input_ids"]])
        states = model.model(input_ids=ids).last_hidden_state[0, -1]
        expected.append(float(model.score(states).double().softmax(-1)[1]))
    expected.insert(texts.index(""), 0.0)
    assert label_probabilities(classifier, texts) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_answer_without_a_visible_character_shows_nothing(trained: Path, text: str) -> None:
    assert label_probabilities(load_classifier(trained, 0, "cpu"), [text, "blue"])[0] == 0


def test_a_head_that_is_not_in_the_checkpoint_is_refused(trained: Path, tmp_path: Path) -> None:
    saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    assert "has no tensor classifier.bias (2 in all)" in refusal(tmp_path)


def test_a_head_of_other_labels_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    change_config(tmp_path, id2label={"0": "answers", "1": "declines", "2": "sings"})
    assert "has another shape for classifier.bias" in refusal(tmp_path)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    tiny_model(tiny_config("llama")).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    assert "is no sequence classifier (it is a LlamaForCausalLM)" in refusal(tmp_path)
    change_config(tmp_path, architectures=None)
    assert "has no tensor score.weight (1 in all)" in refusal(tmp_path, 1)
    change_config(tmp_path, model_type="clip", architectures=["CLIPModel"])
    assert "is no sequence classifier" in refusal(tmp_path)


def test_what_is_missing_is_named(trained: Path, tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "none")
    assert "cannot read the model's configuration" in refusal(tmp_path)
    tiny_classifier().save_pretrained(tmp_path)
    assert "has no tokenizer" in refusal(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert "cannot load the classifier" in refusal(tmp_path)


def test_code_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REMOTE_CODE_VARIABLE, raising=False)
    saved(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    change_config(tmp_path, model_type="teapot", auto_map={"AutoConfig": "own.Teapot"})
    assert f"{REMOTE_CODE_VARIABLE}=1" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_of_another_model_is_refused(trained: Path) -> None:
    classifier = load_classifier(trained, 1, "cpu")
    other = classifier._replace(tokenizer=word_tokenizer([f"word{i}" for i in range(99)]))
    with pytest.raises(UnwriteError, match="they do not belong together"):
        label_probabilities(other, ["word98"])


def test_logits_that_are_not_finite_are_refused(trained: Path) -> None:
    classifier = load_classifier(trained, 1, "cpu")
    head: Any = classifier.model.get_submodule("classifier")
    head.bias.fill_(float("nan"))
    with pytest.raises(UnwriteError, match="outputs NaN or infinity"):
        label_probabilities(classifier, TEXTS)


def test_a_model_that_does_not_fit_is_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> Iterator[None]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("unwrite.models.classifier.load_weights", no_room)
    monkeypatch.setattr("unwrite.models.classifier.pick_device", lambda _: CUDA)
    monkeypatch.setattr("unwrite.models.classifier.choose_dtype", lambda *_: torch.float32)
    assert "does not fit in the memory of cuda:1" in refusal(trained)
