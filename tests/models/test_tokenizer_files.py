"""Tokenizers that need another package: the right one is named, by the first stage that sees the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.models import tokenizer_files
from unwrite.models.loading import load_tokenizer
from unwrite.models.tokenizer_files import refuse_missing_tokenizer, refuse_unreadable_tokenizer
from unwrite.pipeline.pinning import pin_base

DEMO = Path(__file__).resolve().parents[2] / "demo" / "model"
SENTENCEPIECE = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
TIKTOKEN = b"IQ== 0\nIg== 1\n"


def only(installed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_files, "find_spec", lambda name: object() if name in installed else None)


@pytest.mark.parametrize(
    ("name", "content", "installed", "package"),
    [
        ("tokenizer.model", SENTENCEPIECE, {"tiktoken"}, "sentencepiece"),
        ("spiece.model", SENTENCEPIECE, set(), "sentencepiece"),
        ("tokenizer.model", SENTENCEPIECE, {"sentencepiece"}, "protobuf"),
        ("tokenizer.model", TIKTOKEN, {"sentencepiece"}, "tiktoken"),
        ("tekken.json", b"{}", {"sentencepiece", "tiktoken"}, "mistral-common"),
    ],
)
def test_the_package_that_reads_the_file_is_named(
    name: str, content: bytes, installed: set[str], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(installed, monkeypatch)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        UnwriteError, match=rf"{name} is a tokenizer that only the package {package} reads: pip install"
    ):
        refuse_unreadable_tokenizer(tmp_path)


@pytest.mark.parametrize("beside", ["tokenizer.json", "vocab.json"])
def test_a_file_that_transformers_reads_itself_is_enough(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(set(), monkeypatch)
    (tmp_path / "tokenizer.model").write_bytes(SENTENCEPIECE)
    (tmp_path / beside).write_text("{}")
    refuse_unreadable_tokenizer(tmp_path)


def test_what_is_installed_or_not_there_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only({"sentencepiece", "google.protobuf"}, monkeypatch)
    refuse_unreadable_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(SENTENCEPIECE)
    refuse_unreadable_tokenizer(tmp_path)


def test_a_module_whose_parent_is_missing_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> object:
        if name == "google.protobuf":
            raise ModuleNotFoundError(name="google")
        return object()

    monkeypatch.setattr(tokenizer_files, "find_spec", find)
    (tmp_path / "tokenizer.model").write_bytes(SENTENCEPIECE)
    with pytest.raises(UnwriteError, match="pip install protobuf"):
        refuse_unreadable_tokenizer(tmp_path)


def test_pinning_and_loading_refuse_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(set(), monkeypatch)
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.model").write_bytes(SENTENCEPIECE)
    with pytest.raises(UnwriteError, match="pip install sentencepiece"):
        pin_base(str(model))
    with pytest.raises(UnwriteError, match="pip install sentencepiece"):
        load_tokenizer(model)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "spiece.model", "qwen.tiktoken", "own.py"])
def test_a_folder_without_any_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnwriteError, match="has no tokenizer"):
        refuse_missing_tokenizer(tmp_path)
    (tmp_path / name).write_text("")
    refuse_missing_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "settings", [None, '{"tokenizer_class": "LlamaTokenizer"}', '{"tokenizer_class": "GPT2Tokenizer"}']
)
def test_a_tokenizer_that_knows_no_words_is_refused(settings: str | None, tmp_path: Path) -> None:
    for name in ("config.json", "chat_template.jinja"):
        shutil.copy(DEMO / name, tmp_path)
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(UnwriteError, match="has a tokenizer without words"):
        load_tokenizer(tmp_path)
