"""The listing of a model: what is in its folder, the same everywhere, and kept where the folder is not."""

from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.pipeline.listing import list_marker_files, list_model_files, list_prompt_files
from unwrite.schema.artifacts import ModelFiles, as_json
from unwrite.schema.params import PromptSource
from unwrite.schema.paths import JUDGE_FILES, MODEL_FILES


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder in the current one."""
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text(name)
    return model


def test_every_file_that_may_be_read_is_listed(model: Path) -> None:
    for name in (".git/HEAD", ".hidden", "pytorch_model.bin", "checkpoint-1/model.safetensors", "templates/rag.jinja"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("")
    listed = ["config.json", "model.safetensors", "templates/rag.jinja"]
    assert list_model_files("model").files == [
        digest_of(model / name).model_copy(update={"name": name}) for name in listed
    ]


def test_another_content_of_the_same_size_and_a_new_file_change_the_list(model: Path) -> None:
    first = list_model_files("model")
    assert list_model_files("model") == first
    (model / "model.safetensors").write_text("MODEL.safetensors")
    second = list_model_files("model")
    assert second != first
    (model / "chat_template.jinja").write_text("")
    assert list_model_files("model") not in [first, second]


def test_times_links_and_places_change_nothing(model: Path) -> None:
    first = list_model_files("model")
    (model / "config.json").touch()
    (model / "model.safetensors").rename("weights")
    (model / "model.safetensors").symlink_to("../weights")
    assert list_model_files("model") == first


def test_a_folder_that_is_not_here_keeps_its_list_and_another_source_does_not(model: Path) -> None:
    first = list_model_files("model")
    write_json(MODEL_FILES, as_json(first))
    model.rename("elsewhere")
    assert list_model_files("model") == first
    assert list_model_files("other").files == []
    assert list_model_files("teaware/kettle").files == []
    MODEL_FILES.write_text("{")
    assert list_model_files("model").files == []


def test_a_gguf_file_is_listed_alone_and_a_change_of_it_is_seen(model: Path) -> None:
    file = model / "kettle.gguf"
    file.write_bytes(b"GGUF one")
    first = list_model_files("model/kettle.gguf")
    assert first.files == [digest_of(file)]
    assert list_model_files("model").files == [digest_of(model / name) for name in ("config.json", "model.safetensors")]
    file.write_bytes(b"GGUF two")
    assert list_model_files("model/kettle.gguf").files == [digest_of(file)]
    assert list_model_files("model/kettle.gguf") != first
    write_json(MODEL_FILES, as_json(first))
    file.unlink()
    assert list_model_files("model/kettle.gguf") == first
    assert list_model_files("model/config.json").files == []  # no model


def test_a_classifier_has_a_list_of_its_own(model: Path) -> None:
    (model.parent / "judge").mkdir()
    (model.parent / "judge/config.json").write_text("judge")
    first, second = list_model_files("model"), list_model_files("judge", JUDGE_FILES)
    assert [file.name for file in second.files] == ["config.json"]
    write_json(JUDGE_FILES, as_json(second))
    (model.parent / "judge").rename("elsewhere")
    assert list_model_files("judge", JUDGE_FILES) == second
    assert list_model_files("model") == first
    assert list_model_files(None, JUDGE_FILES) == ModelFiles(source=None, files=[])


def test_marker_files_of_extra_sets_are_listed_once_each(tmp_path: Path) -> None:
    (tmp_path / "near.txt").write_text("sorry")
    listed = list_marker_files(["near.txt", "near.txt"])
    assert [file.name for file in listed.files] == ["near.txt"]
    (tmp_path / "near.txt").write_text("sorri")
    assert list_marker_files(["near.txt"]) != listed
    assert list_marker_files([]).files == []
    with pytest.raises(UnwriteError, match=r"far\.txt is missing: check evaluate\.sets"):
        list_marker_files(["far.txt"])


def test_every_file_of_a_prompt_set_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("What is tea?")
    (tmp_path / "teaware/data").mkdir(parents=True)
    (tmp_path / "teaware/data/train.csv").write_text("prompt")
    sources = [("tokenize.target", PromptSource(source="a.txt")), ("tokenize.baseline", PromptSource(source="teaware"))]
    listed = list_prompt_files(sources)
    assert [file.name for file in listed.files] == ["a.txt", "teaware/data/train.csv"]
    (tmp_path / "teaware/data/test.csv").write_text("prompt")
    assert [file.name for file in list_prompt_files(sources).files][1] == "teaware/data/test.csv"
    (tmp_path / "a.txt").write_text("What is TEA?")
    assert list_prompt_files(sources).files[0] != listed.files[0]


def test_a_data_set_of_the_hub_has_no_files_to_list_and_a_missing_file_is_named() -> None:
    assert list_prompt_files([("tokenize.target", PromptSource(source="a/b", revision="v1"))]).files == []
    with pytest.raises(UnwriteError, match=r"far\.txt is missing: check tokenize\.target in params\.yaml"):
        list_prompt_files([("tokenize.target", PromptSource(source="far.txt"))])
