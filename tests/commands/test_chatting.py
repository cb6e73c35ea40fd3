"""`unwrite chat` answers piped lines with either model or both, and says what is wrong in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.chat.conftest import save_tiny
from tests.support.releases import changed_json, make_release
from unwrite.cli import main


def chat(*arguments: str, lines: str = "teapot\nkettle\n") -> Result:
    return CliRunner().invoke(main, ["chat", *arguments], input=lines)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A release and its base; the base is replaced by a model that says something else."""
    release = make_release(tmp_path_factory.mktemp("release"))
    return str(release.folder), str(save_tiny(release.base.parent / "other", seed=2))


def test_both_models_answer_each_line_and_the_chat_ends_at_the_end_of_input(folders: tuple[str, str]) -> None:
    result = chat("--release", folders[0], "--against", folders[1], "--max-tokens", "4")
    assert result.exit_code == 0, result.output
    starts = [line.split(" ")[0] for line in result.stdout.splitlines()]
    assert starts == [">", "base:", "edited:", ">", "base:", "edited:"]
    assert result.stdout.count("cut at 4 tokens") == 4
    assert "Ctrl-D ends" in result.stderr
    again = chat("--release", folders[0], "--against", folders[1], "--max-tokens", "4")
    assert again.stdout == result.stdout  # greedy


def test_one_model_alone(folders: tuple[str, str]) -> None:
    pair = ["--release", folders[0], "--against", folders[1], "--max-tokens", "4", "--no-history"]
    both = chat(*pair).stdout
    for name, other in (("base", "edited"), ("edited", "base")):
        alone = chat(*pair, f"--{name}").stdout
        assert f"{other}:" not in alone
        assert [line for line in both.splitlines() if not line.startswith(other)] == alone.splitlines()
    assert "base:" not in chat("--release", folders[0]).stdout


def test_sampling_depends_on_the_seed_alone(folders: tuple[str, str]) -> None:
    hot = ["--release", folders[0], "--max-tokens", "12", "--temperature", "2"]
    first, again, other = (chat(*hot, "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert first == again != other


def test_a_system_prompt_is_shown_and_sent(folders: tuple[str, str]) -> None:
    without = chat("--release", folders[0], lines="teapot\n")
    result = chat("--release", folders[0], "--system", "saucer spoon", lines="teapot\n")
    assert "System prompt: saucer spoon" in result.stderr
    assert result.stdout != without.stdout


def test_the_system_prompt_of_a_set_is_shown(folders: tuple[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[0], tmp_path / "release")
    with changed_json(folder / "provenance.json") as manifest:
        tokenize = manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["tokenize"]
        tokenize |= {"baseline": {"source": "x.csv", "system_prompt": "kettle"}}
    short = ["--release", str(folder), "--max-tokens", "2"]
    assert "System prompt: kettle" in chat(*short, "--set", "baseline").stderr
    assert "kettle" not in chat(*short).stderr
    assert "System prompt: spoon" in chat(*short, "--set", "baseline", "--system", "spoon").stderr


def test_plain_text_has_no_history(folders: tuple[str, str], tmp_path: Path) -> None:
    folder = shutil.copytree(folders[0], tmp_path / "release")
    with changed_json(folder / "provenance.json") as manifest:
        manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["tokenize"] |= {"template": "raw"}
    result = chat("--release", str(folder), "--max-tokens", "4", lines="teapot\nkettle\nteapot\n")
    assert "Prompts are plain text without a chat template" in result.stderr
    assert "Each message stands on its own" in result.stderr
    first, _, again = result.stdout.split("> ")[1:]
    assert first == again
    with_template = chat("--release", folders[0], "--max-tokens", "4", lines="teapot\nkettle\nteapot\n")
    assert "stands on its own" not in with_template.stderr


def test_outside_a_project_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = chat()
    assert result.exit_code == 1
    assert result.stderr == (
        "error: There is no project here (params.yaml is missing): change to its folder, "
        "or name a release: unwrite chat --release FOLDER.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "x"], "--against names the base of a --release"),
        (["--release", "x", "--base"], "--base needs the release's base: name it with --against"),
        (["--max-tokens", "0"], "--max-tokens"),
    ],
)
def test_options_that_contradict_each_other(arguments: list[str], message: str) -> None:
    result = chat(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_base_that_is_not_there_is_named(folders: tuple[str, str]) -> None:
    result = chat("--release", folders[0], "--against", "demo/modle")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 'demo/modle' is not a folder")
