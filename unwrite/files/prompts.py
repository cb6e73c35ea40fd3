"""Prompts: the conversations that a row of a source holds, with the text that is put around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any, NamedTuple

from unwrite.core.markers import normalize_text
from unwrite.errors import UnwriteError
from unwrite.files.prompt_rows import LONGEST_PROMPT, Columns, Row
from unwrite.files.prompt_text import fingerprint, is_text, is_visible
from unwrite.schema.params import PromptSource

_MARK = "\ufeff"
_EITHER = ("prompt", "messages")
"""The columns that are read if params.yaml names none."""


class Prompt(NamedTuple):
    """What a model is asked, and the answer that a model without the behaviour would give, if it is known.

    `earlier` holds the messages and responses before it, in turn; `system_prompt` comes before all of them.
    """

    text: str
    reference: str | None
    system_prompt: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[str, ...]:
        """The conversation: messages and responses in turn, a message first and last."""
        return (*self.earlier, self.text)

    @property
    def shown(self) -> str:
        """The conversation as people read it: the text alone, or every turn with who speaks."""
        if not self.earlier:
            return self.text
        spoken = zip(cycle(("User", "Assistant")), self.turns, strict=False)
        return "\n\n".join(f"{who}: {turn}" for who, turn in spoken)

    @property
    def key(self) -> bytes:
        """What two prompts share if people see the same conversation under the same system prompt."""
        return prompt_key(self.system_prompt, self.shown)


def prompt_key(system_prompt: str | None, shown: str) -> bytes:
    """Return the key of a prompt, also of one that is known as it is shown alone."""
    return fingerprint(system_prompt, shown)


def columns_of(source: PromptSource) -> Columns:
    """Return the columns that a source names, or those that are read if it names none."""
    if source.column is not None:
        return Columns((source.column,), source.reference)
    return Columns(_EITHER, source.reference or "reference")


def prompts_of(
    rows: Iterable[Row], source: PromptSource, system_prompt: str | None, dropped: Counter[str]
) -> Iterator[tuple[str, Prompt]]:
    """Yield the prompt of each row with its place, such as "x.csv, line 3".

    Args:
        rows: text, or columns by name.
        source: names the columns, and the text to put before and after each prompt.
        system_prompt: of the whole set.
        dropped: what is left out is counted here.

    Raises:
        UnwriteError: a row holds no prompt, or is of another kind than the first; the message names its place.
    """
    columns, first = columns_of(source), None
    for place, value in rows:
        if not isinstance(value, (str, Mapping)):
            raise UnwriteError(f"{place}: expected text or an object with {columns.prompts[0]!r}, got {value!r:.60}.")
        kind = "text" if isinstance(value, str) else "an object"
        first = first or kind
        if kind != first:
            raise UnwriteError(f"{place} is {kind}, but the rows before it are {first}. Give every row the same form.")
        row: Mapping[str, Any] = {columns.prompts[0]: value} if isinstance(value, str) else value
        column = columns.found_in(list(row), place)
        prompt = _conversation(f'{place}: "{column}"', row[column], system_prompt, dropped)
        prompt = prompt._replace(text=f"{source.prefix}{prompt.text}{source.suffix}")
        yield place, prompt._replace(reference=_reference(place, row.get(columns.reference or ""), prompt))


def _conversation(place: str, value: object, system_prompt: str | None, dropped: Counter[str]) -> Prompt:
    if not isinstance(value, list):
        return Prompt(_text(place, value, dropped), None, system_prompt)
    turns = [_turn(f"{place}, message {number}", turn, dropped) for number, turn in enumerate(value, 1)]
    if turns and turns[0][0] == "system":
        if system_prompt is not None:
            raise UnwriteError(
                f"{place} has a system message, and params.yaml sets a system prompt. "
                "Set the `system_prompt` of this set to null, or remove the message."
            )
        system_prompt, turns = turns[0][1], turns[1:]
    if turns and turns[-1][0] == "assistant":
        dropped["answer(s) at the end of conversations, which the model is to give"] += 1
        turns = turns[:-1]
    roles = [role for role, _ in turns]
    if not roles or roles != ["user" if number % 2 == 0 else "assistant" for number in range(len(roles))]:
        raise UnwriteError(
            f"{place} must be messages of user and assistant in turn, user first, got {', '.join(roles[:6]) or 'none'}."
        )
    *earlier, last = [text for _, text in turns]
    return Prompt(last, None, system_prompt, tuple(earlier))


def _turn(place: str, message: object, dropped: Counter[str]) -> tuple[str, str]:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    if role not in {"system", "user", "assistant"}:
        raise UnwriteError(
            f'{place} must be {{"role": system, user or assistant, "content": text}}, got {message!r:.60}.'
        )
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text")) for part in content)
    return str(role), _text(place, content, dropped)


def _text(place: str, value: object, dropped: Counter[str]) -> str:
    if not is_text(value) or not is_visible(value):
        raise UnwriteError(f"{place} must be text, got {value!r:.60}.")
    if len(value) > LONGEST_PROMPT:
        raise UnwriteError(
            f"{place} has {len(value) / 1e6:.1f} million characters, which no model reads; at most "
            f"{LONGEST_PROMPT / 1e6:.0f} million are taken. Is it one prompt?"
        )
    if _MARK in value:
        dropped["byte order mark(s) inside prompts"] += value.count(_MARK)
        value = value.replace(_MARK, "")
    return value.strip()


def _reference(place: str, value: object, prompt: Prompt) -> str | None:
    if value is None or (is_text(value) and normalize_text(value)):
        return value
    raise UnwriteError(
        f'{place}: "reference" of {prompt.text[:60]!r} must be an answer or null, got {value!r:.60}: '
        "no response could equal it."
    )


def without_repetitions(prompts: Iterable[tuple[str, Prompt]], dropped: Counter[str]) -> Iterator[tuple[str, Prompt]]:
    """Yield the first of prompts with the same key; the others are counted."""
    seen: set[bytes] = set()
    for place, prompt in prompts:
        if prompt.key in seen:
            dropped["prompt(s) that repeat an earlier one"] += 1
        else:
            seen.add(prompt.key)
            yield place, prompt
