"""What report and model card say about prompts: where each set came from, and how all of them are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from unwrite.schema.artifacts import PromptOrigin, PromptOrigins
from unwrite.schema.params import RAW
from unwrite.schema.paths import PROMPT_TEMPLATE


class PromptFacts(NamedTuple):
    """One prompt set in words.

    counts: used prompts by split, such as "400 train, 100 validation, 100 test".
    source: the hub id with its commit; of a local source, the name alone, since a path may say whose it is.
    left_out: what was dropped or truncated; empty if nothing was.
    """

    name: str
    counts: str
    source: str
    left_out: str
    system_prompt: str | None
    sha256: str


def prompt_facts(origins: Mapping[str, PromptOrigin]) -> list[PromptFacts]:
    """Return the prompt sets in words, in the order given.

    Args:
        origins: where each set came from.
    """
    return [
        PromptFacts(
            name=name,
            counts=", ".join(f"{count} {split}" for split, count in one.prompts.items()),
            source=_source(one),
            left_out="; ".join(
                [f"{count} {what} dropped" for what, count in one.dropped.items()]
                + [f"{count} {split} prompts truncated" for split, count in one.truncated.items()]
            ),
            system_prompt=one.system_prompt,
            sha256=one.sha256,
        )
        for name, one in origins.items()
    ]


def rendering_text(origins: PromptOrigins) -> str:
    """Return in a sentence how prompts are rendered; empty where it is as the model does it by itself.

    Args:
        origins: the record of the tokens.
    """
    template, prefix = origins.template, origins.response_prefix
    parts = []
    if template is not None and template.source == RAW:
        parts.append(f"Prompts are plain text, without a chat template ({PROMPT_TEMPLATE})")
    elif template is not None and template.source is not None:
        parts.append(
            f"Prompts are rendered with another chat template than the model's own: {PROMPT_TEMPLATE}, "
            f"with sha256 {template.sha256}"
        )
    if prefix:
        parts.append(f"Responses are made to begin with {prefix!r}")
    return " ".join(f"{part}." for part in parts)


def _source(origin: PromptOrigin) -> str:
    config = "" if origin.config is None else f", {origin.config}"
    if origin.commit is None:
        return Path(origin.source).absolute().name + config
    return f"{origin.source}{config}, commit {origin.commit}"
