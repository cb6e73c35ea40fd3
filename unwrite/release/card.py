"""The model card of a release: metadata that the hub reads, and what users must know. Every figure is an artifact's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unwrite.report import tables
from unwrite.report.rendering import template_environment
from unwrite.schema.artifacts import Base, Evaluation, Front, Recipe

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
) -> str:
    """The README.md of a release: YAML front matter and Markdown.

    Args:
        behaviour: One line that says what the edit was to remove.
        base: The pinned model.
        recipe: The edit.
        evaluation: Both models on the test split.
        front: What is common to all trials.
        prompts: The file of each prompt set, `target` and `baseline`.
    """
    # Every value is escaped on its way into the text: a behaviour or a name can't become markup.
    environment = template_environment("unwrite.release", autoescape=False, finalize=markdown_text)
    body = environment.get_template("card.md.jinja").render(
        behaviour=behaviour,
        base=base,
        recipe=recipe,
        evaluation=evaluation,
        front=front,
        prompts={name: Path(file).name for name, file in prompts.items()},
        model=tables.model_name(base),
        rates=tables.rate_rows(evaluation),
        direction=tables.direction_text(recipe.parameters, [trial.parameters for trial in front.trials]),
        norms=tables.NORMS[recipe.settings.norm_preservation],
        post_norms=tables.norms_text(recipe, base),
        numbers=tables.edited_numbers(recipe, base),
    )
    return f"---\n{card_metadata(base, evaluation, prompts).to_yaml()}\n---\n\n{body}"


def card_metadata(base: Base, evaluation: Evaluation, prompts: Mapping[str, str]) -> ModelCardData:
    """The metadata of the card.

    `base_model` names a repository of the hub, so a local folder has none. Of the relations the hub knows (adapter,
    finetune, merge, quantized; https://huggingface.co/docs/hub/model-cards#specifying-a-base-model) an edit of the
    weights is nearest to finetune. The licence and the languages are those that the base model's card states. The
    figures are the edited model's, under `model-index`.

    Args:
        base: The pinned model.
        evaluation: Both models on the test split.
        prompts: The file of each prompt set, `target` and `baseline`.
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
        model_name=f"{tables.model_name(base)}, edited",
        eval_results=list(_results(evaluation, prompts)),
    )


def _results(evaluation: Evaluation, prompts: Mapping[str, str]) -> Iterator[EvalResult]:
    """Every figure of the edited model: rates as shares of the responses, divergences in nats."""
    from huggingface_hub import EvalResult

    figures = [
        (row.prompts, row.figure.replace(" ", "_"), row.figure, row.edited.value)
        for row in tables.rate_rows(evaluation)
    ]
    first, response = evaluation.kl_first_token, evaluation.kl_response
    figures.append(("baseline", "kl_first_token", "KL divergence at the first response token (nats)", first))
    figures.append(("baseline", "kl_response", "KL divergence over the first response tokens (nats)", response))
    for prompt_set, metric, name, value in figures:
        yield EvalResult(
            task_type=TASK,
            dataset_type=Path(prompts[prompt_set]).stem,
            dataset_name=f"{Path(prompts[prompt_set]).name} ({prompt_set} prompts)",
            # Two sets whose files have one name, in two folders, are still two.
            dataset_config=prompt_set,
            dataset_split="test",
            metric_type=metric,
            metric_name=name,
            metric_value=value,
        )


def markdown_text(value: object) -> str:
    """A value as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", " ".join(str(value).split()))
