"""The model card of a release: metadata that the hub reads, and what users must know. Every figure is an artifact's."""

from __future__ import annotations

import io
import re
from typing import Any

from ruamel.yaml import YAML

from unwrite.artifacts import Base, Evaluation, Front, Recipe
from unwrite.report import tables
from unwrite.report.rendering import template_environment

_TAGS = ("directional-ablation", "unwrite")


def model_card(*, behaviour: str, base: Base, recipe: Recipe, evaluation: Evaluation, front: Front) -> str:
    """The README.md of a release: YAML front matter and Markdown.

    Args:
        behaviour: One line that says what the edit was to remove.
        base: The pinned model.
        recipe: The edit.
        evaluation: Both models on the test split.
        front: What is common to all trials.
    """
    # Every value is escaped on its way into the text: a behaviour or a name can't become markup.
    environment = template_environment("unwrite.provenance", autoescape=False, finalize=markdown_text)
    body = environment.get_template("card.md.jinja").render(
        behaviour=behaviour,
        base=base,
        recipe=recipe,
        evaluation=evaluation,
        front=front,
        model=tables.model_name(base),
        rates=tables.rate_rows(evaluation),
        direction=tables.direction_text(recipe.trial.parameters, front.trials),
        norms=tables.NORMS[recipe.norm_preservation],
        post_norms=tables.norms_text(recipe, base),
        numbers=tables.edited_numbers(recipe, base),
    )
    return f"---\n{_front_matter(base)}---\n\n{body}"


def card_metadata(base: Base) -> dict[str, Any]:
    """The metadata of the card.

    `base_model` names a repository of the hub, so a local folder has none. Of the relations the hub knows (adapter,
    finetune, merge, quantized; https://huggingface.co/docs/hub/model-cards#specifying-a-base-model) an edit of the
    weights is nearest to finetune. The licence is left out: it follows from the base model's, which no artifact states.
    """
    relation = {} if base.commit is None else {"base_model": base.source, "base_model_relation": "finetune"}
    return {**relation, "library_name": "transformers", "pipeline_tag": "text-generation", "tags": list(_TAGS)}


def markdown_text(value: object) -> str:
    """A value as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", " ".join(str(value).split()))


def _front_matter(base: Base) -> str:
    buffer = io.StringIO()
    yaml = YAML()
    yaml.width = 1 << 16  # a long name stays on its line
    yaml.dump(card_metadata(base), buffer)
    return buffer.getvalue()
