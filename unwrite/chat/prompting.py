"""How the pipeline prompted the models: the template settings of section `tokenize`, from the project or a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.chat import RenderedPrompt, tokenize_conversations
from unwrite.models.template_notes import template_notes
from unwrite.schema.params import Scalar
from unwrite.terms import SETS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Prompting(NamedTuple):
    """The keys of section `tokenize` that decide how a message is rendered."""

    system_prompt: str | None
    response_prefix: str
    template_arguments: dict[str, Scalar]
    today: date | None


_EMPTY: Mapping[str, Any] = {"system_prompt": None, "response_prefix": "", "template_arguments": {}, "today": None}


def prompting_of(sections: Mapping[str, Any], where: str, prompt_set: str = "target") -> Prompting:
    """Return the settings that a section `tokenize` states; what it does not state is as if it were empty.

    The system prompt is that of a prompt set, where it has one of its own.

    Args:
        sections: the parameters by section, from params.yaml or from a manifest.
        where: the file, for the message.
        prompt_set: the set whose prompts the messages are like.

    Raises:
        UnwriteError: a value has the wrong type, or there is no such set.
    """
    tokenize = sections.get("tokenize", {})
    stated = {name: tokenize.get(name, empty) for name, empty in _EMPTY.items()}
    prompts = _prompt_sets(sections)
    if prompt_set not in prompts:
        raise UnwriteError(f"{where} has no prompt set {prompt_set}; it has {', '.join(prompts)}.")
    source = prompts[prompt_set]
    if isinstance(source, Mapping) and "system_prompt" in source:
        stated["system_prompt"] = source["system_prompt"]
    try:
        return TypeAdapter(Prompting).validate_python(stated)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UnwriteError(f"{where}: tokenize.{key} is not valid ({reason_of(error)}).") from None


def _prompt_sets(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return where each prompt set comes from, as the parameters of strangers state it too."""
    prompts = {name: sections.get("tokenize", {}).get(name) for name in SETS}
    extra = sections.get("evaluate", {}).get("sets", {})
    named = extra.items() if isinstance(extra, Mapping) else ()
    return prompts | {name: one.get("prompts") for name, one in named if isinstance(one, Mapping)}


def render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str], prompting: Prompting) -> RenderedPrompt:
    """Render a conversation up to where the next response begins; one message is rendered as the pipeline does it.

    Args:
        tokenizer: a tokenizer with a chat template.
        turns: messages and responses in turn; a message is first and last.
        prompting: the template settings.

    Raises:
        UnwriteError: as in `tokenize_conversations`.
    """
    return tokenize_conversations(tokenizer, [turns], **prompting._asdict())[0]


def notes_on_template(tokenizer: PreTrainedTokenizerBase, prompting: Prompting) -> list[str]:
    """Return what the chat template adds on its own, a line each."""
    return template_notes(
        tokenizer,
        system_prompt=prompting.system_prompt,
        template_arguments=prompting.template_arguments,
        today=prompting.today,
    )
