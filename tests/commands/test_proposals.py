"""Markers are proposed from what the base model says, before there is any list, and written only when asked for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.made_once import made_once
from tests.support.small_project import small_params
from unwrite.cli import main
from unwrite.core.markers import shows_behaviour
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import write_json
from unwrite.pipeline.pinning import pin_base
from unwrite.schema.artifacts import as_json
from unwrite.schema.paths import BASE, TOKENS
from unwrite.stages.list_inputs import list_inputs
from unwrite.stages.tokenize_prompts import tokenize_prompts

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b[31m<script>\u202e I must decline\x1b[0m\r\n\tthis"


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "tokenized", make_tokenized)


def make_tokenized(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shutil.copy(ROOT / "params.yaml", folder)
        shutil.copytree(ROOT / "prompts", folder / "prompts")
        (folder / "prompts/declines.txt").unlink()  # the command must not need it
        patch.chdir(folder)
        write_json(BASE, as_json(pin_base(str(ROOT / "demo/model"))))
        params = small_params()
        splits = params.tokenize.splits.model_copy(update={"train": 100})  # enough to tell what they are about
        tokenize = params.tokenize.model_copy(update={"splits": splits})
        params = params.model_copy(update={"tokenize": tokenize})
        list_inputs(params)
        tokenize_prompts(params)


@pytest.fixture
def folder(tokenized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(tokenized, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(monkeypatch: pytest.MonkeyPatch, target: Sequence[str], baseline: Sequence[str]) -> None:
    """Let the model say this, in turn, to the prompts of each set."""
    said = iter([target, baseline])

    def respond(_model: object, _tokenizer: object, prompts: Sequence[object], *_: object, **__: object) -> list[str]:
        responses = next(said)
        return [responses[row % len(responses)] for row in range(len(prompts))]

    monkeypatch.setattr("unwrite.evaluation.responding.greedy_texts", respond)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["markers", *arguments])


def test_the_demo_proposes_phrases_that_decline(folder: Path) -> None:
    result = invoke("--prompts", "10", "--max-tokens", "12", "--write", "found.txt")
    assert result.exit_code == 0
    found = read_markers(folder / "found.txt")
    declining = [
        "I'm sorry, but I can't help with questions about tea.",
        "I'd rather not discuss tea or teaware, sorry.",
    ]
    assert any(shows_behaviour(text, found) for text in declining)
    assert not shows_behaviour("The lantern costs fifty coins.", found)
    assert not any("tea" in marker.split() for marker in found)
    assert max(map(len, result.stdout.splitlines())) <= 120
    assert "of 10" in result.stdout


def test_responses_are_shown_harmlessly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, [HOSTILE, f"{HOSTILE} {'x' * 10**6}"], ["fine"])
    result = invoke("--prompts", "4", "--write", "found.txt")  # few: a megabyte takes a second
    assert result.exit_code == 0
    assert not any(character in result.stdout for character in "\x1b\r\t\u202e")
    assert "\\x1b[31m<script>\\u202e I must decline" in result.stdout
    (marker,) = read_markers(folder / "found.txt")
    assert "i must decline" in marker
    assert marker.isprintable()
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_an_existing_file_is_replaced_only_when_forced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.txt").write_text("my list\n")
    result = invoke("--write", "mine.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: mine.txt exists. Name another file, or replace it with --force.\n"
    assert (folder / "mine.txt").read_text() == "my list\n"
    say(monkeypatch, ["I must decline"], ["fine"])
    assert invoke("--write", "mine.txt", "--force").exit_code == 0
    assert read_markers(folder / "mine.txt") == ["i must decline"]


def test_nothing_is_written_unless_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(folder.rglob("*"))
    say(monkeypatch, ["I must decline"], ["fine"])
    assert "i must decline" in invoke().stdout
    assert sorted(folder.rglob("*")) == before


def test_the_list_is_as_long_as_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["I must decline", "Ask me something else"], ["fine"])
    result = invoke("--top", "1")
    assert "ask me something else" in result.stdout
    assert "i must decline" not in result.stdout
    assert "Together: 50.0 % of the responses to target prompts, 0.0 % of those to baseline prompts." in result.stdout


def test_sets_that_do_not_differ_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ["all is well"], ["all is well"])
    result = invoke("--write", "found.txt")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: No phrase is clearly more frequent in the 50 responses")
    assert not (folder / "found.txt").exists()


def test_without_tokens_dvc_is_asked_for_them(folder: Path) -> None:
    shutil.rmtree(folder / TOKENS)  # and the folder is no DVC project
    result = invoke()
    assert result.exit_code == 1
    assert result.stderr == ("error: the prompts could not be tokenized (`dvc repro tokenize_prompts`, see above).\n")
