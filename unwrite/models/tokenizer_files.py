"""Tokenizer files that transformers reads only with another library's help: the library, by name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from unwrite.errors import UnwriteError

_PLAIN = ("tokenizer.json", "vocab.json", "vocab.txt")
_OTHERS = {*_PLAIN, "tekken.json"}
_SUFFIXES = {".model", ".tiktoken", ".spm", ".bpe", ".py"}  # code can bring its own
_SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")


def refuse_missing_tokenizer(folder: Path) -> None:
    """Refuse a folder without a tokenizer: for some models transformers would make one that knows no words.

    Args:
        folder: the folder with the model's files.

    Raises:
        UnwriteError: it holds no file of a tokenizer.
    """
    if not any(path.name in _OTHERS or path.suffix in _SUFFIXES for path in folder.iterdir()):
        raise UnwriteError(f"{folder} has no tokenizer. Save it next to the model.")


def refuse_unreadable_tokenizer(folder: Path) -> None:
    """Refuse a folder whose tokenizer needs a package that is not installed.

    A folder without any tokenizer passes: not everything needs one.

    Args:
        folder: the folder with the model's files.

    Raises:
        UnwriteError: the package is missing; the message names it.
    """
    if any((folder / name).is_file() for name in _PLAIN):
        return
    if (folder / "tekken.json").is_file():
        _require("mistral_common", "mistral-common", folder / "tekken.json")
    for name in _SENTENCEPIECE:
        if (path := folder / name).is_file():
            # A SentencePiece model is a protocol buffer, a tiktoken vocabulary is text.
            if _starts_as_text(path):
                _require("tiktoken", "tiktoken", path)
            else:
                _require("sentencepiece", "sentencepiece", path)
                _require("google.protobuf", "protobuf", path)
            return


def _starts_as_text(path: Path) -> bool:
    with path.open("rb") as file:
        return all(33 <= byte < 127 for byte in file.read(4))


def _require(module: str, package: str, path: Path) -> None:
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # of the parent package
        found = False
    if not found:
        raise UnwriteError(
            f"{path} is a tokenizer that only the package {package} reads: pip install {package}, or save the "
            "tokenizer as tokenizer.json."
        )
