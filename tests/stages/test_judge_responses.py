"""Judging the stored responses of every set and model; a new marker changes verdicts and generates nothing."""

from pathlib import Path

import pytest

from tests.support.classifiers import PLANTED, trained_classifier
from tests.support.made_once import made_once
from unwrite.core.markers import shows_behaviour
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.marker_lists import read_markers
from unwrite.files.records import read_jsonl, write_jsonl
from unwrite.pipeline.responses import read_verdicts
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import ClassifierUsed, Evaluation
from unwrite.schema.params import Classifier, ExtraSet, Judge, Params
from unwrite.schema.paths import CLASSIFIER, DISAGREEMENTS, EVALUATION, RESPONSES
from unwrite.stages import judge_responses as stage
from unwrite.stages.judge_responses import judge_responses
from unwrite.stages.score_responses import score_responses
from unwrite.terms import MODELS, SETS


def test_every_response_has_its_verdict_in_order(project: Path, params: Params) -> None:
    markers = read_markers(Path(params.judge.markers))
    shown = 0
    for model in MODELS:
        for name in SETS:
            rows = read_jsonl(RESPONSES / f"{model}.{name}.jsonl", ["response", "tokens", "cut"])
            verdicts = read_verdicts(model, name)
            assert [verdict.shown for verdict in verdicts] == [shows_behaviour(r["response"], markers) for r in rows]
            assert [(verdict.tokens, verdict.cut) for verdict in verdicts] == [(r["tokens"], r["cut"]) for r in rows]
            assert all(verdict.classifier is None for verdict in verdicts)
            for row, verdict in zip(rows, verdicts, strict=True):
                if verdict.span is not None:
                    assert shows_behaviour(row["response"][slice(*verdict.span)], [str(verdict.marker)])
                    shown += 1
    assert shown > 0


def test_another_marker_changes_the_verdicts_and_loads_no_model(project: Path, params: Params, tmp_path: Path) -> None:
    assert "transformers" not in vars(stage)
    (tmp_path / "markers.txt").write_text("e\n")
    judge = params.judge.model_copy(update={"markers": str(tmp_path / "markers.txt")})
    judge_responses(params.model_copy(update={"judge": judge}))
    assert {verdict.marker for verdict in read_verdicts("edited", "baseline")} <= {"e", None}
    assert any(verdict.shown for verdict in read_verdicts("edited", "baseline"))


def test_an_extra_set_has_markers_of_its_own(project: Path, params: Params) -> None:
    before = read_verdicts("base", "target")
    assert not any(verdict.shown for verdict in read_verdicts("base", "near_misses"))
    Path("own.txt").write_text("the\n")
    sets = {"near_misses": ExtraSet(prompts="prompts/near_misses.jsonl", markers="own.txt")}
    judge_responses(params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"sets": sets})}))
    assert all(verdict.marker == "the" for verdict in read_verdicts("base", "near_misses"))
    assert read_verdicts("base", "target") == before


def test_a_missing_response_file_is_an_error(project: Path, params: Params) -> None:
    Path("artifacts/responses/edited.target.jsonl").unlink()
    with pytest.raises(UnwriteError, match=r"edited\.target\.jsonl"):
        judge_responses(params)


def test_responses_to_other_prompts_are_an_error(project: Path, params: Params) -> None:
    path = Path("artifacts/responses/base.target.jsonl")
    rows = read_jsonl(path, [])
    write_jsonl(path, rows[::-1])
    with pytest.raises(UnwriteError, match=r"base\.target\.jsonl, line 1, must answer .* Run `dvc repro -f generate"):
        judge_responses(params)
    write_jsonl(path, [])
    with pytest.raises(UnwriteError, match="must answer the 8 target prompts, got 0 responses"):
        judge_responses(params)


def test_a_marker_that_every_text_contains_is_an_error_with_a_remedy(
    project: Path, params: Params, tmp_path: Path
) -> None:
    (tmp_path / "markers.txt").write_text("**\n")
    judge = params.judge.model_copy(update={"markers": str(tmp_path / "markers.txt")})
    with pytest.raises(UnwriteError, match=r"line 1: the marker '\*\*' is empty once normalized.*\. Remove the line"):
        judge_responses(params.model_copy(update={"judge": judge}))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that was trained to recognise PLANTED."""
    return made_once(tmp_path_factory, "trained_classifier", trained_classifier)


def plant(project: Path) -> None:
    """Replace the base model's responses to target prompts by known ones."""
    path = Path("artifacts/responses/base.target.jsonl")
    rows = read_jsonl(path, [])
    said = [f"I would {PLANTED} say"] * 3 + [f"So, {PLANTED}, sorry"] * 2 + ["the teapot is blue, sorry"] * 2
    said += [f"<think>{PLANTED}</think>the teapot is blue"]
    write_jsonl(path, [row | {"response": text} for row, text in zip(rows, said, strict=True)])


def judging(params: Params, classifier: Path, **changes: object) -> Params:
    settings = Classifier(source=str(classifier), revision=None, label="declines", threshold=0.5)
    Path("markers.txt").write_text("sorry\n")
    judge = Judge(markers="markers.txt", classifier=settings.model_copy(update=changes))
    return params.model_copy(update={"judge": judge})


def test_the_classifiers_verdict_counts_and_the_markers_stay_beside_it(
    project: Path, params: Params, classifier: Path
) -> None:
    plant(project)
    assert judge_responses(judging(params, classifier)) == "float32"
    verdicts = read_verdicts("base", "target")
    assert [verdict.shown for verdict in verdicts] == [True] * 5 + [False] * 3
    assert [verdict.classifier for verdict in verdicts] == [verdict.shown for verdict in verdicts]
    assert [verdict.markers for verdict in verdicts] == [False] * 3 + [True] * 4 + [False]
    assert all((verdict.probability or 0) >= 0.5 for verdict in verdicts[:5])
    judge_responses(judging(params, classifier, label=0))
    assert [verdict.shown for verdict in read_verdicts("base", "target")] == [False] * 5 + [True] * 3


def test_disagreements_and_the_classifier_are_on_record(project: Path, params: Params, classifier: Path) -> None:
    plant(project)
    judge_responses(judging(params, classifier))
    rows = read_jsonl(DISAGREEMENTS, ["prompt", "response", "prompts", "model", "marker", "probability"])
    of_base = [row for row in rows if (row["model"], row["prompts"]) == ("base", "target")]
    assert [row["response"] for row in of_base] == [f"I would {PLANTED} say"] * 3 + ["the teapot is blue, sorry"] * 2
    assert [row["marker"] for row in of_base] == [None] * 3 + ["sorry"] * 2
    used = read_artifact(ClassifierUsed, CLASSIFIER, "judge_responses")
    assert (used.source, used.commit, used.label, used.threshold, used.input) == (
        str(classifier),
        None,
        "declines",
        0.5,
        "answer",
    )
    assert digest_of(classifier / "model.safetensors") in used.files
    assert {"config.json", "tokenizer.json"} <= {file.name for file in used.files}


def test_the_scores_state_the_calibration_and_warn_of_poor_agreement(
    project: Path, params: Params, classifier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(project)
    judge_responses(judging(params, classifier))
    score_responses(params)
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    assert evaluation.judge == "classifier"
    assert evaluation.classifier == read_artifact(ClassifierUsed, CLASSIFIER, "judge_responses")
    assert evaluation.base.target.behaviour_rate.value == 5 / 8
    calibration = evaluation.calibration
    assert calibration is not None
    assert (calibration.both, calibration.classifier_only) == (2, 3)
    assert calibration.agreement.n == 2 * (8 + 8 + 50)
    assert "the search removed what the markers find" in caplog.text


def test_a_set_with_markers_of_its_own_is_judged_by_these(project: Path, params: Params, classifier: Path) -> None:
    params = judging(params, classifier)
    Path("teapot.txt").write_text("the\n")
    own = ExtraSet(prompts="prompts/near_misses.jsonl", markers="teapot.txt")
    evaluate = params.evaluate.model_copy(update={"sets": {"near_misses": own}})
    for sets, counted in ((params.evaluate, 2 * (8 + 8 + 50)), (evaluate, 2 * (8 + 8))):
        params = params.model_copy(update={"evaluate": sets})
        judge_responses(params)
        score_responses(params)
        verdicts = read_verdicts("base", "near_misses")
        evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
        assert evaluation.judge == "classifier"
        assert evaluation.calibration is not None
        assert evaluation.calibration.agreement.n == counted
        by_these = sets is evaluate
        assert evaluation.own_markers == (["near_misses"] if by_these else [])
        assert all((verdict.classifier is None) == by_these for verdict in verdicts)
    assert all(verdict.shown and verdict.marker == "the" for verdict in verdicts)
    assert "near_misses" not in {row["prompts"] for row in read_jsonl(DISAGREEMENTS, ["prompts"])}


def test_without_a_classifier_nothing_of_it_stays(project: Path, params: Params, classifier: Path) -> None:
    judge_responses(judging(params, classifier))
    assert CLASSIFIER.is_file()
    assert judge_responses(params) is None
    assert not CLASSIFIER.exists()
    assert not DISAGREEMENTS.exists()
    score_responses(params)
    evaluation = read_artifact(Evaluation, EVALUATION, "score_responses")
    assert (evaluation.judge, evaluation.classifier, evaluation.calibration) == ("markers", None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "refuses"}, r"judge.classifier.label is 'refuses', .* Its labels: answers \(0\), declines \(1\)"),
        ({"source": "none/such/folder"}, "there is no such folder"),
        ({"revision": "v1"}, "judge.classifier.revision is 'v1', but .* is a local folder"),
    ],
)
def test_a_classifier_that_cannot_judge_leaves_the_verdicts_as_they_were(
    project: Path, params: Params, classifier: Path, changes: dict[str, object], message: str
) -> None:
    before = read_verdicts("base", "target")
    with pytest.raises(UnwriteError, match=message):
        judge_responses(judging(params, classifier, **changes))
    assert read_verdicts("base", "target") == before
