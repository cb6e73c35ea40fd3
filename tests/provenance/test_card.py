"""The model card: metadata the hub can read, figures of the artifacts, nothing of the machine."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.samples import (
    sample_base,
    sample_direction,
    sample_edit,
    sample_front,
    sample_recipe,
    sample_trial,
    sample_writers,
)
from unwrite.artifacts import Base, Evaluation, Front, ModelScores, Norm, Recipe, SetScores, Share, Trial
from unwrite.provenance.card import card_metadata, markdown_text, model_card


@pytest.fixture
def base() -> Base:
    return sample_base(sample_writers(2))


@pytest.fixture
def trial() -> Trial:
    return sample_trial(7, 0.03, 0.0123, direction_scope="per_layer")


@pytest.fixture
def recipe(base: Base, trial: Trial) -> Recipe:
    edits = [sample_edit(writer, 1.0, sample_direction(writer.layer + 1)) for writer in base.writers[:3]]
    return sample_recipe(edits, trial, norm_preservation="columns")


@pytest.fixture
def front(trial: Trial) -> Front:
    return sample_front([trial], norm_preservation="columns")


def scores(rate: float) -> ModelScores:
    share = Share(value=rate, low=max(0, rate - 0.05), high=min(1, rate + 0.05), n=80)
    of_set = SetScores(behaviour_rate=share, degenerate_rate=share, reference_accuracy=None)
    return ModelScores(target=of_set, baseline=of_set)


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        confidence=0.95,
        base=scores(0.9),
        edited=scores(0.1),
        kl_first_token=0.002,
        kl_response=0.03,
        reference_ceiling=None,
    )


def parts(card: str) -> tuple[dict[str, Any], str]:
    """The metadata and the text, split as the hub splits them."""
    empty, metadata, body = card.split("---\n", 2)
    assert empty == ""
    return YAML(typ="safe").load(metadata), body


def test_the_metadata_of_a_hub_model(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    card = model_card(behaviour="jokes", base=base, recipe=recipe, evaluation=evaluation, front=front)
    metadata, body = parts(card)
    assert metadata == {
        "base_model": "examples/small",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["directional-ablation", "unwrite"],
    }
    assert base.commit is not None
    assert base.commit in body
    assert "licence" in body


def test_the_hub_library_reads_it(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    from huggingface_hub import ModelCard

    text = model_card(behaviour="jokes", base=base, recipe=recipe, evaluation=evaluation, front=front)
    data: dict[str, Any] = vars(ModelCard(text).data)
    assert data["base_model"] == "examples/small"
    assert data["library_name"] == "transformers"
    assert data["license"] is None


def test_a_local_folder_is_no_base_model_and_its_path_stays_out(
    base: Base, recipe: Recipe, evaluation: Evaluation, front: Front
) -> None:
    local = base.model_copy(update={"source": "/home/someone/small", "commit": None})
    card = model_card(behaviour="jokes", base=local, recipe=recipe, evaluation=evaluation, front=front)
    metadata, body = parts(card)
    assert not {"base_model", "base_model_relation"} & set(metadata)
    assert "someone" not in card
    assert "# small, edited" in body


def test_every_figure_is_an_artifacts(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    _, body = parts(model_card(behaviour="jokes", base=base, recipe=recipe, evaluation=evaluation, front=front))
    assert "- 3 of the 4 parameters that write the residual stream were edited; together 384 numbers." in body
    assert "| target | behaviour rate | 90.0 % (85.0–95.0, n = 80) | 10.0 % (5.0–15.0, n = 80) |" in body
    assert "0.002 nats at the first response token, 0.03 nats averaged" in body
    assert "Trial 7 of the search, selected for: named by number." in body
    assert "every weight column keeps its norm" in body
    assert "eference" not in body  # none was measured
    assert "eiling" not in body


@pytest.mark.parametrize(("compensated", "words"), [(True, "vanishes after the norm"), (False, "comes back after it")])
def test_what_was_done_about_a_norm_after_a_writer_is_said(
    base: Base, recipe: Recipe, evaluation: Evaluation, front: Front, compensated: bool, words: str
) -> None:
    plain = model_card(behaviour="jokes", base=base, recipe=recipe, evaluation=evaluation, front=front)
    assert "norm follows" not in plain
    norms = [Norm(parameter="norm.weight", tensor="norm.weight", offset=1.0)]
    followed = base.model_copy(update={"writers": [w.model_copy(update={"norms": norms}) for w in base.writers]})
    edits = [edit.model_copy(update={"norms": norms if compensated else []}) for edit in recipe.edits]
    changed = recipe.model_copy(update={"edits": edits})
    body = model_card(behaviour="jokes", base=followed, recipe=changed, evaluation=evaluation, front=front)
    assert "- A norm follows 3 of the edited parameters" in body
    assert words in body


def test_what_was_left_unedited_is_said(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    plain = model_card(behaviour="jokes", base=base, recipe=recipe, evaluation=evaluation, front=front)
    assert "Not edited" not in plain
    gap = base.model_copy(update={"incomplete": ["layer 0, mlp: a scale follows", "layer 1: the residual is normed"]})
    body = model_card(behaviour="jokes", base=gap, recipe=recipe, evaluation=evaluation, front=front)
    assert "- **Not edited**" in body
    assert "\n  - layer 0, mlp: a scale follows\n  - layer 1: the residual is normed\n" in body


def test_words_cannot_become_markup(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    hostile = "jokes**\n\n---\nlicense: mit\n# Title\n<script>x</script> [a](http://b) | `c`"
    card = model_card(behaviour=hostile, base=base, recipe=recipe, evaluation=evaluation, front=front)
    metadata, body = parts(card)
    assert "license" not in metadata
    assert "\\<script\\>" in body
    assert "\n# Title" not in body
    assert "\\[a\\](http://b) \\| \\`c\\`" in body
    assert "jokes\\*\\*" in body


def test_a_source_cannot_break_the_metadata(base: Base) -> None:
    assert card_metadata(base.model_copy(update={"source": "a: b\nlicense: mit"}))["base_model"] == "a: b\nlicense: mit"


@pytest.mark.parametrize(("text", "markdown"), [("a_b", "a\\_b"), ("1.5 %", "1.5 %"), ("x\n\ny", "x y"), (3, "3")])
def test_markdown_shows_a_value_as_it_is(text: object, markdown: str) -> None:
    assert markdown_text(text) == markdown
