"""A project's parameters are valid and fit the files that are given; what cannot be used is one line."""

from pathlib import Path
from typing import Any

import pytest

from unwrite.errors import UnwriteError
from unwrite.projects.new_project import Answers, ProjectPlan, plan_project
from unwrite.projects.pipeline_text import DEMO
from unwrite.schema.params import Params, PromptSource, source_of
from unwrite.schema.safe_yaml import load_yaml


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and prompts: 30 target prompts, 24 baseline prompts."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("t.txt").write_text("".join(f"What holds {n} cups of tea?\n" for n in range(30)))
    Path("b.txt").write_text("".join(f"What holds {n} books?\n" for n in range(24)))
    Path("m.txt").write_text("prefer not to say\n")
    return tmp_path


def plan(**answers: Any) -> ProjectPlan:
    given: dict[str, Any] = {"model": "model", "target": Path("t.txt"), "baseline": Path("b.txt")} | answers
    return plan_project(Path("new/project"), Answers(**given))


def params_of(plan: ProjectPlan) -> Params:
    return Params.model_validate(load_yaml(plan.params))


def test_the_demo_is_the_demo() -> None:
    demo = plan_project(Path("new"), Answers())
    assert demo.params == (DEMO / "params.yaml").read_text(encoding="utf-8")
    params = params_of(demo)
    prompts = [source_of(one).source for one in (params.tokenize.target, params.tokenize.baseline)]
    named = [*prompts, params.judge.markers]
    assert {*named, f"{params.model.source}/config.json"} <= demo.files.keys()


def test_own_files_are_copied_and_named() -> None:
    made = plan(markers=Path("m.txt"), behaviour="does: not # say")
    params = params_of(made)
    assert params.model.source == "../../model"  # as the project's folder sees it
    assert (params.tokenize.target, params.tokenize.baseline) == ("prompts/t.txt", "prompts/b.txt")
    assert params.judge.markers == "prompts/m.txt"
    assert params.report.behaviour == "does: not # say"
    assert made.files == {f"prompts/{name}": Path(name) for name in ("t.txt", "b.txt", "m.txt")}


def test_a_table_is_copied_and_its_column_named() -> None:
    for name in ("t", "b"):
        Path(f"{name}.csv").write_text("id,question\n" + "".join(f"{n},What {name} is {n}?\n" for n in range(12)))
    with pytest.raises(
        UnwriteError, match=r"t\.csv has no column 'prompt'; its columns: 'id', 'question'\. .*--column"
    ):
        plan(target=Path("t.csv"), baseline=Path("b.csv"))
    made = plan(target=Path("t.csv"), baseline=Path("b.csv"), column="question")
    assert params_of(made).tokenize.target == PromptSource(source="prompts/t.csv", column="question")
    assert made.files == {"prompts/t.csv": Path("t.csv"), "prompts/b.csv": Path("b.csv")}


def test_a_data_set_stays_where_it_is_and_its_split_is_named() -> None:
    for name in ("t", "b"):
        Path(name).mkdir()
        for split in ("train", "test"):
            rows = "".join(f'{{"prompt": "What {name} is {n}?"}}\n' for n in range(12))
            Path(name, f"{split}.jsonl").write_text(rows)
    with pytest.raises(UnwriteError, match=r"t has the splits train, test: name one .*--split"):
        plan(target=Path("t"), baseline=Path("b"))
    made = plan(target=Path("t"), baseline=Path("b"), split="train")
    assert params_of(made).tokenize.baseline == PromptSource(source="../../b", split="train")
    assert made.files == {}
    with_file = plan(target=Path("t"), baseline=Path("b.txt"), split="train")  # a file has no splits
    assert params_of(with_file).tokenize.baseline == "prompts/b.txt"


def test_what_is_the_demos_alone_is_reset() -> None:
    params = params_of(plan())
    assert params.score.reference_ceiling is None
    assert params.runtime.threads == 0
    assert params.evaluate.sets == {}
    assert params.model.revision is None


def test_splits_fit_the_smaller_set_and_are_said() -> None:
    made = plan()
    splits = params_of(made).tokenize.splits
    assert (splits.train, splits.validation, splits.test) == (16, 4, 4)
    assert any("16 train + 4 validation + 4 test" in note and "target prompts: 30" in note for note in made.notes)


def test_without_markers_their_place_is_named_and_nothing_is_copied_there() -> None:
    made = plan()
    assert params_of(made).judge.markers == "prompts/markers.txt"
    assert "prompts/markers.txt" not in made.files
    assert any("report.behaviour" in note for note in made.notes)


def test_a_model_without_prompts_gets_the_demos_as_an_example() -> None:
    made = plan(target=None, baseline=None)
    params = params_of(made)
    assert source_of(params.tokenize.target).source in made.files
    assert not any(name.startswith("demo/model") for name in made.files)
    assert any("put yours in their place" in note for note in made.notes)


def test_a_hub_id_stays_and_so_does_an_absolute_path(here: Path) -> None:
    made = params_of(plan(model="you/your-model", revision="v1"))
    assert (made.model.source, made.model.revision) == ("you/your-model", "v1")
    assert params_of(plan(model=str(here / "model"))).model.source == str(here / "model")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"model": "./missing"}, "no such folder"),
        ({"model": None}, "name your model with --model"),
        ({"baseline": None}, "give both --target and --baseline"),
        ({"target": None, "baseline": None, "markers": Path("m.txt")}, "give both --target and --baseline"),
        ({"target": Path("missing.txt")}, "missing.txt cannot be read"),
        ({"baseline": Path("t.txt")}, "different file names"),
        ({"markers": Path("missing.txt")}, "missing.txt is missing"),
    ],
)
def test_what_cannot_be_used_is_refused(answers: dict[str, Any], message: str) -> None:
    with pytest.raises(UnwriteError, match=message):
        plan(**answers)


def test_a_prompt_in_both_sets_is_refused() -> None:
    Path("b.txt").write_text(Path("b.txt").read_text().replace("What holds 3 books?", "what holds 3 cups of tea?"))
    with pytest.raises(UnwriteError, match="in target prompts and again in baseline prompts"):
        plan()
