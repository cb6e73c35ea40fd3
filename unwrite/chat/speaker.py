"""One model in a chat: its side of the conversation, and its next reply as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unwrite.chat.prompting import Prompting, render
from unwrite.core.thinking import answer_of
from unwrite.errors import UnwriteError, is_out_of_memory
from unwrite.evaluation.behaviour import decoder, opened_tags, unsettled_tokens
from unwrite.models.end_tokens import end_tokens
from unwrite.models.prompt_limits import longest_sequence
from unwrite.models.token_stream import Choose, most_likely, stream_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_UNKNOWN = "\ufffd"
"""What a tokenizer decodes an incomplete character to."""
NewChoose = Callable[[], Choose]


def choose_most_likely() -> Choose:
    """Return `most_likely`: the default of a speaker."""
    return most_likely


@dataclass
class Reply:
    """A response while it is generated; mutable.

    speaker: who speaks.
    steps: each step generates one token.
    text: the response so far, as far as later tokens keep it; all of it after the last step.
    notes: what to say about it, a short phrase each.
    """

    speaker: str
    steps: Iterator[None] = field(default_factory=lambda: iter(()))
    text: str = ""
    notes: list[str] = field(default_factory=list)


class Speaker:
    """A model and its side of the conversation; mutable: the conversation grows."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_tokens: int,
        new_choose: NewChoose = choose_most_likely,
    ) -> None:
        """Start without a conversation.

        Args:
            name: what the model is called on screen.
            model: a language model.
            tokenizer: its tokenizer, with a chat template.
            max_tokens: the longest reply.
            new_choose: makes the function that chooses tokens, again for every new conversation.
        """
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.turns: list[str] = []
        self._max_tokens, self._new_choose, self._choose = max_tokens, new_choose, new_choose()
        self._limit = longest_sequence(model.config)
        self._end_ids = end_tokens(model, tokenizer)
        self._to_text, self._unsettled = decoder(tokenizer), unsettled_tokens(tokenizer)

    def forget(self) -> None:
        """Start a new conversation."""
        self.turns, self._choose = [], self._new_choose()

    def reply(self, message: str, prompting: Prompting) -> Reply:
        """Begin the reply to a message. Where the conversation is too long for the model, its oldest turns are dropped.

        Args:
            message: the user's message.
            prompting: the template settings.

        Raises:
            UnwriteError: the template rejects the conversation, or the message alone is too long for the model.
        """
        turns, prompt = _fitting([*self.turns, message], self._render(prompting), self._limit, self._max_tokens)
        reply = Reply(self.name)
        if dropped := (len(self.turns) + 1 - len(turns)) // 2:
            reply.notes.append(f"{dropped} of the oldest turns dropped: the model takes {self._limit} tokens")
        self.turns = turns[:-1]
        room = self._max_tokens if self._limit is None else min(self._max_tokens, self._limit - len(prompt))
        reply.steps = self._steps(reply, prompt, room)
        return reply

    def keep(self, message: str, reply: Reply, prompting: Prompting) -> None:
        """Add a message and the reply to it to the conversation, without the chain of thought.

        Args:
            message: the user's message.
            reply: the reply, complete or stopped.
            prompting: the template settings it was made with.
        """
        self.turns += [message, answer_of(prompting.response_prefix + reply.text).strip()]

    def _render(self, prompting: Prompting) -> Callable[[Sequence[str]], list[int]]:
        return lambda turns: render(self.tokenizer, turns, prompting).tokens

    def _steps(self, reply: Reply, prompt: Sequence[int], room: int) -> Iterator[None]:
        (tag,) = opened_tags(self.tokenizer, [prompt])
        tokens: list[int] = []
        try:
            for token in stream_tokens(self.model, prompt, room, end_ids=self._end_ids, choose=self._choose):
                tokens.append(token)
                if token not in self._unsettled:
                    reply.text = tag + self._to_text(tokens).rstrip(_UNKNOWN)
                yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UnwriteError("Memory ran out. Use /reset, a smaller --max-tokens, or one model alone.") from error
        reply.text = tag + self._to_text(tokens)
        if len(tokens) == room:
            reply.notes.append(f"cut at {room} tokens; see --max-tokens")
        elif not tokens:
            reply.notes.append("an empty response")


def _fitting(
    turns: list[str], tokens_of: Callable[[Sequence[str]], list[int]], limit: int | None, max_tokens: int
) -> tuple[list[str], list[int]]:
    """Return the latest turns that fit, and their tokens; a reply has at most half of what the model takes to itself.

    Args:
        turns: messages and responses in turn, a message first and last.
        tokens_of: renders turns.
        limit: tokens that the model takes; None for any number.
        max_tokens: the longest reply.

    Raises:
        UnwriteError: the last message alone leaves no room for a reply.
    """
    tokens = tokens_of(turns)
    if limit is None:
        return turns, tokens
    while len(turns) > 1 and len(tokens) + min(max_tokens, limit // 2) > limit:
        turns = turns[2:]
        tokens = tokens_of(turns)
    if len(tokens) >= limit:
        raise UnwriteError(f"The message has {len(tokens)} tokens, and the model takes {limit}. Send a shorter one.")
    return turns, tokens
