"""The model card of a release: metadata for the hub, and what users must know; every figure is from an artifact."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unwrite.report.calibration_table import calibration_rows
from unwrite.report.facts import edit_facts
from unwrite.report.prompt_facts import prompt_facts, rendering_text
from unwrite.report.rendering import template_environment
from unwrite.report.tables import model_name, rate_rows
from unwrite.schema.artifacts import Base, Front, PromptOrigins, Recipe
from unwrite.schema.evaluation import ClassifierUsed, Evaluation

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TASK = "text-generation"
_TAGS = ("directional-ablation", "unwrite")


def model_card(
    *,
    behaviour: str,
    base: Base,
    recipe: Recipe,
    evaluation: Evaluation,
    front: Front,
    prompts: Mapping[str, str],
    origins: PromptOrigins,
) -> str:
    """Return the README.md of a release: YAML front matter and Markdown.

    Args:
        behaviour: the behaviour that the edit was to remove, in one line.
        base: the pinned model.
        recipe: the edit.
        evaluation: both models on the test split.
        front: what is common to all trials.
        prompts: file of each prompt set, `target` and `baseline`.
        origins: where the prompts of every set came from.
    """
    # Every value is escaped before it is inserted: a behaviour or a name cannot become markup.
    environment = template_environment("unwrite.release", autoescape=False, finalize=markdown_text)
    body = environment.get_template("card.md.jinja").render(
        behaviour=behaviour,
        **edit_facts(base=base, recipe=recipe, evaluation=evaluation, front=front, trials=front.trials),
        prompts={name: Path(file).name for name, file in prompts.items()},
        prompt_sets=prompt_facts(origins.sets),
        rendering=rendering_text(origins),
        calibration=[] if evaluation.calibration is None else calibration_rows(evaluation.calibration),
        classifier_name=None if evaluation.classifier is None else _public_name(evaluation.classifier),
    )
    return f"---\n{card_metadata(base, evaluation, prompts).to_yaml()}\n---\n\n{body}"


def _public_name(classifier: ClassifierUsed) -> str:
    """Return the hub id of a classifier; of a folder, which may say whose it is, only the last part."""
    return classifier.source if classifier.commit is not None else Path(classifier.source).absolute().name


def card_metadata(base: Base, evaluation: Evaluation, prompts: Mapping[str, str]) -> ModelCardData:
    """Return the metadata of the card.

    `base_model` names a repository of the hub; a local folder has none. Of the hub's relations (adapter, finetune,
    merge, quantized; https://huggingface.co/docs/hub/model-cards#specifying-a-base-model), finetune is the closest to
    an edit of the weights. Licence and languages are those of the base model's card. The figures under `model-index`
    are those of the edited model.

    Args:
        base: the pinned model.
        evaluation: both models on the test split.
        prompts: file of each prompt set, `target` and `baseline`.
    """
    from huggingface_hub import ModelCardData

    hub = base.commit is not None
    return ModelCardData(
        base_model=base.source if hub else None,
        base_model_relation="finetune" if hub else None,
        license=base.card.license,
        license_name=base.card.license_name,
        license_link=base.card.license_link,
        language=base.card.language or None,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=list(_TAGS),
        model_name=f"{model_name(base)}, edited",
        eval_results=list(_results(evaluation, prompts)),
    )


def card_figures(name: str, evaluation: Evaluation, prompts: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of a card's metadata that follows from a release alone, as the values that its YAML holds.

    Args:
        name: the name of the model.
        evaluation: both models on the test split.
        prompts: file of each prompt set, `target` and `baseline`.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=TASK,
        tags=list(_TAGS),
        model_name=name,
        eval_results=list(_results(evaluation, prompts)),
    )
    figures: dict[str, Any] = data.to_dict()  # type: ignore[no-untyped-call]
    return figures


def _results(evaluation: Evaluation, prompts: Mapping[str, str]) -> Iterator[EvalResult]:
    """Yield every figure of the edited model: rates as shares of the responses, divergences in nats."""
    from huggingface_hub import EvalResult

    figures = [
        (row.prompts, row.figure.replace(" ", "_"), row.figure, row.edited.value) for row in rate_rows(evaluation)
    ]
    first, response = evaluation.kl_first_token, evaluation.kl_response
    figures.append(("baseline", "kl_first_token", "KL divergence at the first response token (nats)", first))
    figures.append(("baseline", "kl_response", "KL divergence over the first response tokens (nats)", response))
    for prompt_set, metric, name, value in figures:
        file = Path(prompts.get(prompt_set, prompt_set))  # an extra set goes by its own name
        yield EvalResult(
            task_type=TASK,
            dataset_type=file.stem,
            dataset_name=f"{file.name} ({prompt_set} prompts)",
            # Tells apart two sets whose files have the same name in different folders.
            dataset_config=prompt_set,
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=value,
        )


def markdown_text(value: object) -> str:
    """Return a value as Markdown that shows it literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", " ".join(str(value).split()))
