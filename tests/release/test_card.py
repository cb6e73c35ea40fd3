"""The model card: metadata the hub can read, figures of the artifacts, nothing of the machine."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.samples import (
    sample_base,
    sample_classified,
    sample_direction,
    sample_edit,
    sample_evaluation,
    sample_front,
    sample_origin,
    sample_recipe,
    sample_trial,
    sample_writers,
)
from unwrite.files.cards import NO_CARD
from unwrite.release.card import card_metadata, markdown_text, model_card
from unwrite.report.tables import rate_rows
from unwrite.schema.artifacts import Base, Front, GgufOrigin, Norm, PromptOrigins, Recipe, TemplateOrigin, Trial
from unwrite.schema.evaluation import Evaluation, ModelScores, SetScores, Share

PROMPTS = {"target": "prompts/teaware.jsonl", "baseline": "prompts/ordinary.jsonl"}

ORIGINS = PromptOrigins(
    sets={
        "target": sample_origin(source="/home/somebody/teaware.jsonl", dropped={"prompt(s) that repeat": 3}),
        "baseline": sample_origin(source="tea/ordinary", commit="c" * 40, system_prompt="Be *kind*."),
    }
)


def card_of(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front, **changes: Any) -> str:
    """The card of a model that jokes, with anything replaced by name."""
    known: dict[str, Any] = {"behaviour": "jokes", "prompts": PROMPTS, "origins": ORIGINS}
    return model_card(base=base, recipe=recipe, evaluation=evaluation, front=front, **(known | changes))


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


def share(rate: float) -> Share:
    return Share(value=rate, low=max(0, rate - 0.05), high=min(1, rate + 0.05), n=80)


def scores(rate: float, accuracy: float | None = None) -> ModelScores:
    reference = None if accuracy is None else share(accuracy)
    of_set = SetScores(behaviour_rate=share(rate), degenerate_rate=share(rate / 10), reference_accuracy=reference)
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


def test_metadata_of_a_hub_model(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    card = card_of(base, recipe, evaluation, front)
    metadata, body = parts(card)
    del metadata["model-index"]  # below
    assert metadata == {
        "base_model": "examples/small",
        "base_model_relation": "finetune",
        "language": ["en"],
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["directional-ablation", "unwrite"],
    }
    assert base.commit is not None
    assert base.commit in body
    assert "unwrite verify FOLDER --base BASE" in body


def test_hub_library_reads_the_metadata(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    from huggingface_hub import ModelCard

    text = card_of(base, recipe, evaluation, front)
    data = ModelCard(text).data
    assert data["base_model"] == "examples/small"
    assert data["library_name"] == "transformers"
    assert data["license"] == "apache-2.0"
    assert data["model_name"] == "examples/small, edited"
    assert {result.dataset_split for result in data["eval_results"]} == {"test"}


# As they are computed: shares that are no round decimals, and a divergence that YAML could take for text.
@pytest.mark.parametrize("accuracy", [None, 2 / 3])
@pytest.mark.parametrize("kl", [0.0, 1e-7, 1 / 3])
def test_figures_of_the_metadata_are_those_of_the_evaluation(
    base: Base, recipe: Recipe, front: Front, accuracy: float | None, kl: float
) -> None:
    from huggingface_hub import ModelCard

    evaluation = Evaluation(
        confidence=0.95,
        base=scores(0.9, accuracy),
        edited=ModelScores(target=scores(1 / 7, accuracy).target, baseline=scores(1 / 9, accuracy).baseline),
        kl_first_token=kl,
        kl_response=2 * kl,
        reference_ceiling=None,
    )
    text = card_of(base, recipe, evaluation, front)
    read = {(r.dataset_config, r.metric_type): r for r in ModelCard(text).data["eval_results"]}
    expected: dict[tuple[str, str], float] = {
        (row.prompts, row.figure.replace(" ", "_")): row.edited.value for row in rate_rows(evaluation)
    }
    expected |= {("baseline", "kl_first_token"): kl, ("baseline", "kl_response"): 2 * kl}
    assert {key: result.metric_value for key, result in read.items()} == expected
    assert len(expected) == (6 if accuracy is None else 8)
    result = read["target", "behaviour_rate"]
    assert (result.dataset_type, result.dataset_name) == ("teaware", "teaware.jsonl (target prompts)")
    assert result.metric_value == evaluation.edited.target.behaviour_rate.value


def test_two_sets_with_the_same_file_name_stay_apart(base: Base, evaluation: Evaluation) -> None:
    same = {"target": "jokes/prompts.jsonl", "baseline": "plain/prompts.jsonl"}
    (model,) = card_metadata(base, evaluation, same).to_dict()["model-index"]  # type: ignore[no-untyped-call]
    assert [(result["dataset"]["type"], result["dataset"]["config"]) for result in model["results"]] == [
        ("prompts", "target"),
        ("prompts", "baseline"),
    ]


def test_licence_of_the_base_is_inherited(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    from huggingface_hub import ModelCard

    stated = NO_CARD.model_copy(
        update={"license": "other", "license_name": "kettle-1", "license_link": "LICENSE", "language": ["no", "de"]}
    )
    licensed = base.model_copy(update={"card": stated})
    text = card_of(licensed, recipe, evaluation, front)
    data = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert {key: data[key] for key in ("license", "license_name", "license_link", "language")} == {
        "license": "other",
        "license_name": "kettle-1",
        "license_link": "LICENSE",
        "language": ["no", "de"],  # Norwegian, which YAML can take for false
    }
    assert "Licence: kettle-1, as stated by the base model's card (LICENSE)." in text
    assert "No licence" not in text


def test_missing_licence_is_stated(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    silent = base.model_copy(update={"card": NO_CARD})
    metadata, body = parts(card_of(silent, recipe, evaluation, front))
    assert not {"license", "license_name", "license_link", "language"} & set(metadata)
    assert "No licence is stated here" in body
    assert "Licence:" not in body


def test_local_base_is_not_in_the_metadata_and_its_path_is_not_shown(
    base: Base, recipe: Recipe, evaluation: Evaluation, front: Front
) -> None:
    local = base.model_copy(update={"source": "/home/someone/small", "commit": None})
    card = card_of(local, recipe, evaluation, front)
    metadata, body = parts(card)
    assert not {"base_model", "base_model_relation"} & set(metadata)
    assert "someone" not in card
    assert "# small, edited" in body


def test_every_figure_is_from_an_artifact(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    _, body = parts(card_of(base, recipe, evaluation, front))
    assert "- 3 of the 4 parameters that write the residual stream were edited: 384 values in total." in body
    assert "| target | behaviour rate | 90.0 % (85.0–95.0, n = 80) | 10.0 % (5.0–15.0, n = 80) |" in body
    assert "0.002 nats at the first response token, 0.03 nats averaged" in body
    assert "Trial 7 of the search, selected for: named by number." in body
    assert "every weight column keeps its norm" in body
    assert "eference" not in body  # none was measured
    assert "eiling" not in body


@pytest.mark.parametrize(("compensated", "words"), [(True, "vanishes after the norm"), (False, "comes back after it")])
def test_treatment_of_norms_is_stated(
    base: Base, recipe: Recipe, evaluation: Evaluation, front: Front, compensated: bool, words: str
) -> None:
    plain = card_of(base, recipe, evaluation, front)
    assert "norm follows" not in plain
    norms = [Norm(parameter="norm.weight", tensor="norm.weight", offset=1.0)]
    followed = base.model_copy(update={"writers": [w.model_copy(update={"norms": norms}) for w in base.writers]})
    edits = [edit.model_copy(update={"norms": norms if compensated else []}) for edit in recipe.edits]
    changed = recipe.model_copy(update={"edits": edits})
    body = card_of(followed, changed, evaluation, front)
    assert "- A norm follows 3 of the edited parameters" in body
    assert words in body


def test_unedited_writers_are_stated(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    plain = card_of(base, recipe, evaluation, front)
    assert "Not edited" not in plain
    gap = base.model_copy(update={"incomplete": ["layer 0, mlp: a scale follows", "layer 1: the residual is normed"]})
    body = card_of(gap, recipe, evaluation, front)
    assert "- **Not edited**" in body
    assert "\n  - layer 0, mlp: a scale follows\n  - layer 1: the residual is normed\n" in body


def test_layers_that_are_stored_and_not_run_are_stated(
    base: Base, recipe: Recipe, evaluation: Evaluation, front: Front
) -> None:
    more = base.model_copy(update={"not_run": ["model.layers.61", "mtp.fc"]})
    body = card_of(more, recipe, evaluation, front)
    assert "does not run them" in body
    assert "does): model.layers.61, mtp.fc.\n" in body


def test_text_cannot_become_markup(base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> None:
    hostile = "jokes**\n\n---\nlicense: mit\n# Title\n<script>x</script> [a](http://b) | `c`"
    bare = base.model_copy(update={"card": NO_CARD})
    card = card_of(bare, recipe, evaluation, front, behaviour=hostile)
    metadata, body = parts(card)
    assert "license" not in metadata
    assert "\\<script\\>" in body
    assert "\n# Title" not in body
    assert "\\[a\\](http://b) \\| \\`c\\`" in body
    assert "jokes\\*\\*" in body


HOSTILE = "a: b\n---\nlicense: mit\n# Title\n<script>"


@pytest.mark.parametrize("where", ["source", "license", "license_name", "license_link", "language", "prompts"])
def test_names_cannot_break_the_metadata(
    where: str, base: Base, recipe: Recipe, evaluation: Evaluation, front: Front
) -> None:
    from huggingface_hub import ModelCard

    prompts = PROMPTS
    if where == "source":
        base = base.model_copy(update={"source": HOSTILE})
    elif where == "prompts":
        prompts = {"target": f"{HOSTILE}.jsonl", "baseline": "plain.jsonl"}
    else:
        value = [HOSTILE] if where == "language" else HOSTILE
        base = base.model_copy(update={"card": base.card.model_copy(update={where: value})})
    card = card_of(base, recipe, evaluation, front, prompts=prompts)
    read = ModelCard(card)
    assert read.data["library_name"] == "transformers"
    assert read.data["license"] == (HOSTILE if where == "license" else "apache-2.0")
    assert read.text.strip().startswith("# ")
    assert "\n# Title" not in read.text
    assert "<script>" not in read.text.replace("\\<script\\>", "")


@pytest.mark.parametrize(("text", "markdown"), [("a_b", "a\\_b"), ("1.5 %", "1.5 %"), ("x\n\ny", "x y"), (3, "3")])
def test_markdown_shows_a_value_literally(text: object, markdown: str) -> None:
    assert markdown_text(text) == markdown


def test_a_classifier_and_how_the_markers_agree_with_it_are_stated(base: Base, recipe: Recipe, front: Front) -> None:
    def card(evaluation: Evaluation) -> str:
        return card_of(base, recipe, evaluation, front, behaviour="declines")

    classified = card(sample_classified())
    assert "a classifier says so: teaware, label declines \\| politely with a probability of at least 0.5" in classified
    assert "| Cohen's kappa | 0.40 |" in classified
    assert "| the classifier alone | 8 |" in classified
    assert "lena" not in classified
    assert "contains a phrase from a list of markers" not in classified
    plain = card(sample_evaluation())
    assert "classifier" not in plain
    assert "contains a phrase from a list of markers" in plain


def test_a_base_from_a_gguf_file_is_named_by_the_files_sum(
    base: Base, recipe: Recipe, front: Front, evaluation: Evaluation
) -> None:
    def body(base: Base) -> str:
        text = card_of(base, recipe, evaluation, front)
        metadata, body = parts(text)
        assert ("base_model" in metadata) == (base.commit is not None)
        return body

    origin = GgufOrigin(name="kettle.gguf", size=8, sha256="ab" * 32, transformers="5.18.0")
    made = body(base.model_copy(update={"source": "kettle.gguf", "commit": None, "gguf": origin}))
    assert f"dequantized by transformers 5.18.0 from a GGUF file with sha256 {'ab' * 32}" in made
    assert "BASE the GGUF file named above, or a folder that was dequantized from it" in made
    assert "local folder" not in made
    assert "GGUF" not in body(base)


def test_card_lists_where_the_prompts_came_from_and_how_they_were_rendered(
    base: Base, recipe: Recipe, front: Front
) -> None:
    evaluation = sample_evaluation()
    other = TemplateOrigin(source="own.jinja", sha256="3" * 64)
    plain, changed = (
        card_of(base, recipe, evaluation, front, origins=origins)
        for origins in (ORIGINS, ORIGINS.model_copy(update={"template": other, "response_prefix": "Well"}))
    )
    counts = "12 train, 8 validation, 8 test"
    assert f"- target: {counts}, of teaware.jsonl (3 prompt(s) that repeat dropped). No system prompt." in plain
    assert f'- baseline: {counts}, of tea/ordinary, commit {"c" * 40}. System prompt: "Be \\*kind\\*."' in plain
    assert "somebody" not in plain
    assert "rendered with another chat template" not in plain
    assert f"{'3' * 64}. Responses are made to begin with 'Well'." in changed
