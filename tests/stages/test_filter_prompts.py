"""The prompts that are kept are those whose full response by the base model does what their set stands for."""

from pathlib import Path

import pytest

from unwrite.core.markers import shows_behaviour
from unwrite.errors import UnwriteError
from unwrite.evaluation.responding import greedy_texts
from unwrite.files.marker_lists import read_markers
from unwrite.models import loading
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.pipeline.tokens import read_tokens, write_tokens
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.kept_prompts import KeptOfSet, KeptPrompts
from unwrite.schema.params import Params
from unwrite.schema.paths import KEPT_PROMPTS, TOKENS
from unwrite.stages.filter_prompts import filter_prompts, kept_of_set
from unwrite.terms import SETS


def with_filter(params: Params, **values: object) -> Params:
    return params.model_copy(update={"filter": params.filter.model_copy(update={"min_prompts": 1, **values})})


def kept_prompts() -> KeptPrompts:
    return read_artifact(KeptPrompts, KEPT_PROMPTS, "filter_prompts")


@pytest.fixture
def mixed_sets(project: Path) -> Path:
    """The project, with each set's last three training prompts moved to the other set."""
    target, baseline = (read_tokens(name, "train") for name in SETS)
    write_tokens(TOKENS, "target", "train", target[:-3] + baseline[-3:])
    write_tokens(TOKENS, "baseline", "train", baseline[:-3] + target[-3:])
    return project


def test_prompts_in_the_wrong_set_are_left_out(mixed_sets: Path, params: Params) -> None:
    changed = with_filter(params)
    assert filter_prompts(changed) == "float32"
    kept = kept_prompts()
    model, tokenizer = load_model(Path("demo/model"), "float32", "cpu"), load_tokenizer(Path("demo/model"))
    markers = read_markers(Path(params.judge.markers))
    for name in SETS:
        texts = greedy_texts(
            model, tokenizer, [row.tokens for row in read_tokens(name, "train")], params.filter.max_tokens
        )
        shows = [shows_behaviour(text, markers) for text in texts]
        assert 0 < sum(shows) < 12
        of_set: KeptOfSet = getattr(kept, name)
        assert of_set.rows == [row for row, shown in enumerate(shows) if shown == (name == "target")]
        assert (of_set.prompts, of_set.shown) == (12, sum(shows))


def test_a_set_that_is_not_filtered_is_kept_whole(mixed_sets: Path, params: Params) -> None:
    filter_prompts(with_filter(params, baseline=False))
    kept = kept_prompts()
    assert kept.baseline == KeptOfSet(prompts=12, shown=None, rows=list(range(12)))
    assert len(kept.target.rows) < 12


def test_without_a_filter_no_model_is_read(mixed_sets: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(loading, "load_model")
    assert filter_prompts(with_filter(params, target=False, baseline=False)) is None
    assert kept_prompts().target.rows == kept_prompts().baseline.rows == list(range(12))


def test_too_few_kept_prompts_are_refused_with_the_counts(mixed_sets: Path, params: Params) -> None:
    before = KEPT_PROMPTS.read_bytes()
    with pytest.raises(UnwriteError) as error:
        filter_prompts(with_filter(params, min_prompts=12))
    assert "At least 12 target training prompts must show the behaviour in the base model" in str(error.value)
    assert "of 12. Add such prompts, check judge.markers, or set filter.target to false." in str(error.value)
    assert KEPT_PROMPTS.read_bytes() == before


def test_the_floor_asks_for_no_more_prompts_than_there_are() -> None:
    assert kept_of_set("target", [True] * 4, least=16).rows == [0, 1, 2, 3]
    with pytest.raises(UnwriteError, match="got 3 of 4"):
        kept_of_set("baseline", [False, False, True, False], least=16)


def test_the_counts_are_said(project: Path, params: Params, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        kept_of_set("baseline", [False, True, False], least=1)
    assert caplog.messages == ["baseline: 2 of 3 training prompts do not show the behaviour and are kept."]
