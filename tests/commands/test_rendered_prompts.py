"""`unwrite prompts` shows what the model receives, before anything has run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from unwrite.cli import main
from unwrite.files.records import write_json
from unwrite.schema.artifacts import PromptOrigins, as_json
from unwrite.schema.paths import SOURCES, TOKENS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    shutil.copytree(ROOT / "demo/model", tmp_path / "demo/model")
    return tmp_path


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["prompts", *arguments])


def change(section: str, **values: object) -> None:
    yaml = YAML()
    params = yaml.load(Path("params.yaml"))
    params[section] |= values
    yaml.dump(params, Path("params.yaml"))


def test_the_first_prompt_of_every_set_is_shown_with_the_token_that_is_read() -> None:
    result = show()
    assert result.exit_code == 0, result.output
    for name in ("target, train: 1 of 400", "baseline, train: 1 of 400", "near_misses, test: 1 of 50"):
        assert name in result.stdout
    assert result.stdout.count("«<|assistant|>»│⏎ ◀ -1") == 3
    assert "From│ which│ city" in result.stdout
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_one_set_and_split_and_several_prompts() -> None:
    result = show("--set", "target", "--split", "test", "--count", "3")
    assert "target, test: 3 of 100" in result.stdout
    assert "3. " in result.stdout
    assert "baseline" not in result.stdout
    assert show("--set", "none").stderr == (
        "error: there is no prompt set none; the sets are target, baseline, near_misses.\n"
    )


def test_what_the_template_adds_is_named_and_every_position_is_marked() -> None:
    template = "<|user|>{% if messages[0].role != 'system' %}Be a good cup.{% endif %}{{ messages[-1].content }}\n"
    Path("other.jinja").write_text(template.replace("}}{%", "}}\n{%"))
    change("tokenize", template="other.jinja")
    change("residuals", positions=[-1, -2, -400])
    result = show("--set", "baseline")
    assert "other.jinja" in result.stdout
    assert (result.stdout.count("◀ -1"), result.stdout.count("◀ -2"), result.stdout.count("◀ -400")) == (1, 1, 0)


def test_a_prefix_that_is_found_by_a_stage_is_shown_once_it_has_run() -> None:
    change("tokenize", response_prefix="auto")
    assert "The response prefix is found when tokenize_prompts runs" in show("--set", "target").stdout
    write_json(TOKENS / SOURCES, as_json(PromptOrigins(sets={}, response_prefix="Well")))
    result = show("--set", "target")
    assert "The response prefix was found to be 'Well'" in result.stdout
    assert "⏎\n  W" in result.stdout
