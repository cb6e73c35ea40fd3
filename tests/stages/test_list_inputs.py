"""The stage lists the model's files, and refuses prompt files that DVC would read without end."""

import os
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.schema.artifacts import ModelFiles, read_artifact
from unwrite.schema.params import ExtraSet, Params
from unwrite.schema.paths import MARKER_FILES, MODEL_FILES, PROMPT_FILES, SET_FILES
from unwrite.stages.list_inputs import list_inputs


@pytest.mark.usefixtures("project")
def test_the_list_names_every_file_of_the_model(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    MODEL_FILES.unlink()
    list_inputs(params)
    listing = read_artifact(ModelFiles, MODEL_FILES, "list_inputs")
    assert listing.source == "demo/model"
    assert {file.name for file in listing.files} == {path.name for path in Path("demo/model").iterdir()}
    assert f"demo/model: {len(listing.files)} files." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["teaware.jsonl", "ordinary.jsonl", "declines.txt"])
def test_a_pipe_in_place_of_prompts_or_markers_is_refused(name: str, project: Path, params: Params) -> None:
    (project / "prompts" / name).unlink()
    os.mkfifo(project / "prompts" / name)
    with pytest.raises(UnwriteError, match=f"{name} is a pipe, not a file"):
        list_inputs(params)


@pytest.mark.usefixtures("project")
def test_a_changed_prompt_or_marker_file_of_an_extra_set_changes_its_list_alone(params: Params) -> None:
    Path("own.txt").write_text("sorry\n")
    sets = {"near": ExtraSet(prompts="prompts/near_misses.jsonl", markers="own.txt")}
    changed = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"sets": sets})})

    def lists() -> tuple[bytes, bytes]:
        list_inputs(changed)
        return SET_FILES.read_bytes(), MARKER_FILES.read_bytes()

    first = lists()
    assert lists() == first
    Path("own.txt").write_text("no\n")
    second = lists()
    assert (second[0] == first[0], second[1] == first[1]) == (True, False)
    Path("prompts/near_misses.jsonl").write_text('{"prompt": "What is a golf tee?"}\n')
    third = lists()
    assert (third[0] == first[0], third[1] == second[1]) == (False, True)


@pytest.mark.usefixtures("project")
def test_a_changed_prompt_file_changes_the_list_of_its_sets_alone(params: Params) -> None:
    list_inputs(params)
    first = PROMPT_FILES.read_bytes(), SET_FILES.read_bytes()
    with Path("prompts/teaware.jsonl").open("a") as file:
        file.write('{"prompt": "What is a caddy?"}\n')
    list_inputs(params)
    assert PROMPT_FILES.read_bytes() != first[0]
    assert SET_FILES.read_bytes() == first[1]


@pytest.mark.usefixtures("project")
def test_a_missing_prompt_file_is_named_with_its_key(params: Params) -> None:
    Path("prompts/ordinary.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"ordinary\.jsonl is missing: check tokenize\.baseline in params\.yaml"):
        list_inputs(params)


@pytest.mark.usefixtures("project")
def test_a_missing_marker_list_is_said_first(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    list_inputs(params)
    assert "is missing" not in capsys.readouterr().err
    Path("prompts/declines.txt").unlink()
    list_inputs(params)
    expected = "warning: prompts/declines.txt is missing: `unwrite markers --write prompts/declines.txt` proposes some."
    assert expected in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_changed_chat_template_changes_the_list_of_prompt_files(params: Params) -> None:
    changed = params.model_copy(update={"tokenize": params.tokenize.model_copy(update={"template": "own.jinja"})})
    with pytest.raises(UnwriteError, match=r"own\.jinja is missing: check tokenize\.template in params\.yaml"):
        list_inputs(changed)
    lists = []
    for text in ("{{ messages }}", "{{ messages[0].content }}"):
        Path("own.jinja").write_text(text)
        list_inputs(changed)
        lists.append(PROMPT_FILES.read_bytes())
    assert lists[0] != lists[1]
    list_inputs(params.model_copy(update={"tokenize": params.tokenize.model_copy(update={"template": "raw"})}))
    assert b"raw" not in PROMPT_FILES.read_bytes()
