"""`unwrite init` asks only on a terminal, and says what to do next; `unwrite doctor` fails only if something stops."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from unwrite.cli import main
from unwrite.commands import starting
from unwrite.doctor import examine
from unwrite.doctor.diagnosis import Diagnosis
from unwrite.schema.params import PromptSource, load_params


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("t.txt").write_text("".join(f"What holds {n} cups of tea?\n" for n in range(12)))
    Path("b.txt").write_text("".join(f"What holds {n} books?\n" for n in range(12)))
    return tmp_path


def invoke(*arguments: str, answers: Sequence[str] = ()) -> Result:
    return CliRunner().invoke(main, arguments, input="".join(f"{answer}\n" for answer in answers))


def test_without_a_terminal_nothing_is_asked() -> None:
    result = invoke("init", "tea")
    assert result.exit_code == 0, result.output
    assert result.output == "tea is ready. Next: cd tea && dvc repro\n"


def test_what_is_given_is_used_and_markers_are_proposed_next() -> None:
    arguments = ["--model", "model", "--target", "t.txt", "--baseline", "b.txt", "--behaviour", "says no"]
    result = invoke("init", "tea", *arguments)
    assert result.exit_code == 0, result.output
    last = "tea is ready. Next: cd tea && unwrite markers --write prompts/markers.txt && dvc repro"
    assert result.output.splitlines()[-1] == last
    assert "note: tokenize.splits: 8 train + 2 validation + 2 test." in result.output
    assert "unwrite markers" in Path("tea/README.md").read_text()


def test_a_terminal_is_asked_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "is_terminal", lambda: True)
    result = invoke("init", "tea", "--model", "model", answers=["t.txt", "b.txt", "", "says no"])
    assert result.exit_code == 0, result.output
    params = load_params(Path("tea/params.yaml"))
    assert params.tokenize.target == "prompts/t.txt"
    assert params.report.behaviour == "says no"
    assert "Model:" not in result.output  # it was given


def test_of_a_table_the_column_is_asked_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("t", "b"):
        rows = "".join(f"What {name} holds {n} cups?\n" for n in range(12))
        Path(f"{name}.csv").write_text(f"question\n{rows}")
    arguments = ["--model", "model", "--target", "t.csv", "--baseline", "b.csv"]
    assert invoke("init", "given", *arguments, "--column", "question").exit_code == 0
    assert "its columns: 'question'. Name one" in invoke("init", "tea", *arguments).output
    monkeypatch.setattr(starting, "is_terminal", lambda: True)
    result = invoke("init", "asked", *arguments, answers=["question", "", "says no"])
    assert result.exit_code == 0, result.output
    sources = [load_params(Path(name, "params.yaml")).tokenize.target for name in ("given", "asked")]
    assert sources == [PromptSource(source="prompts/t.csv", column="question")] * 2


def test_an_empty_answer_is_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "is_terminal", lambda: True)
    assert invoke("init", "tea", answers=[""]).exit_code == 0
    assert Path("tea/demo/model/config.json").is_file()


def test_an_occupied_folder_is_refused_before_any_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "is_terminal", lambda: True)
    result = invoke("init", ".")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: . is not empty (it holds ")
    assert len(result.stderr.splitlines()) == 1
    assert "Model" not in result.stdout


@pytest.mark.parametrize(("severity", "code"), [("ok", 0), ("note", 0), ("stop", 1)])
def test_only_what_stops_the_pipeline_fails(severity: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Diagnosis(severity, "a fact.", "a remedy.")]  # type: ignore[arg-type]
    monkeypatch.setattr(examine, "examine", lambda _: found)
    result = invoke("doctor")
    assert result.exit_code == code
    assert f"{severity:<6}a fact. → a remedy." in result.output
