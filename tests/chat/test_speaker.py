"""A speaker replies as the pipeline generates, remembers, and drops what no longer fits."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.chat.conftest import LIMIT, MakeSpeaker
from tests.support.tiny import CHAT_TEMPLATE, WORDS
from unwrite.chat.prompting import prompting_of, render
from unwrite.chat.speaker import Reply
from unwrite.errors import UnwriteError
from unwrite.evaluation.behaviour import decode
from unwrite.models.generation import generate_greedily
from unwrite.models.token_stream import Choose, sampled

PROMPTING = prompting_of({}, "params.yaml")


def finish(reply: Reply) -> list[str]:
    """Run a reply to its end, and return what could be shown after each step."""
    return [reply.text for _ in reply.steps]


def test_a_reply_is_what_the_pipeline_generates(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker(max_tokens=6)
    reply = speaker.reply("teapot kettle", PROMPTING)
    finish(reply)
    prompt = render(speaker.tokenizer, ["teapot kettle"], PROMPTING).tokens
    expected = decode(speaker.tokenizer, generate_greedily(speaker.model, [prompt], 6))
    assert [reply.text] == expected
    assert reply.text


def test_the_next_prompt_holds_the_conversation(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker(max_tokens=3)
    first = speaker.reply("teapot", PROMPTING)
    finish(first)
    speaker.keep("teapot", first, PROMPTING)
    assert speaker.turns == ["teapot", first.text]
    second = speaker.reply("kettle", PROMPTING)
    finish(second)
    prompt = render(speaker.tokenizer, ["teapot", first.text, "kettle"], PROMPTING).tokens
    assert [second.text] == decode(speaker.tokenizer, generate_greedily(speaker.model, [prompt], 3))
    speaker.forget()
    assert speaker.turns == []


def test_a_chain_of_thought_is_not_remembered(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker()
    speaker.keep("teapot", Reply("edited", text="<think>spoon</think> Well no"), PROMPTING)
    speaker.keep("teapot", Reply("edited", text="no"), PROMPTING._replace(response_prefix="Well "))
    assert speaker.turns == ["teapot", "Well no", "teapot", "Well no"]


def test_the_oldest_turns_are_dropped_and_that_is_said(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker(max_tokens=10)
    speaker.turns = ["teapot " * 9, "spoon " * 9, "kettle " * 3, "saucer " * 3]
    reply = speaker.reply("kettle", PROMPTING)
    assert speaker.turns == ["kettle " * 3, "saucer " * 3]
    assert reply.notes == [f"1 of the oldest turns dropped: the model takes {LIMIT} tokens"]
    finish(reply)
    assert len(render(speaker.tokenizer, [*speaker.turns, "kettle"], PROMPTING).tokens) + 10 <= LIMIT
    assert speaker.reply("kettle", PROMPTING).notes == []  # the control: what fits is kept


def test_a_reply_has_at_most_half_the_context_to_itself(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker(max_tokens=10 * LIMIT)
    speaker.turns = ["teapot", "spoon"]
    reply = speaker.reply("kettle", PROMPTING)
    assert speaker.turns == ["teapot", "spoon"]
    room = LIMIT - len(render(speaker.tokenizer, ["teapot", "spoon", "kettle"], PROMPTING).tokens)
    assert len(finish(reply)) == room
    assert reply.notes == [f"cut at {room} tokens; see --max-tokens"]


def test_a_message_that_fills_the_context_is_refused(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker()
    speaker.turns = ["teapot", "spoon"]
    with pytest.raises(UnwriteError, match=rf"The message has \d+ tokens, and the model takes {LIMIT}"):
        speaker.reply("teapot " * LIMIT, PROMPTING)
    assert speaker.turns == ["teapot", "spoon"]


def test_an_empty_response_is_said(make_speaker: MakeSpeaker) -> None:
    speaker = make_speaker()
    reply = speaker.reply("teapot", PROMPTING)
    next(reply.steps)
    speaker._end_ids = [WORDS.index(reply.text.split()[0])]
    ended = speaker.reply("teapot", PROMPTING)
    assert finish(ended) == []
    assert (ended.text, ended.notes) == ("", ["an empty response"])


def test_a_new_conversation_samples_the_same_again(make_speaker: MakeSpeaker) -> None:
    def new_choose() -> Choose:
        return sampled(5.0, seed=3)

    speaker = make_speaker(max_tokens=8, new_choose=new_choose)
    texts = []
    for forget in (False, True, False):
        if forget:
            speaker.forget()
        reply = speaker.reply("teapot", PROMPTING)
        finish(reply)
        texts.append(reply.text)
    assert texts[0] == texts[1] != texts[2]  # the third goes on with the generator


def bytewise_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes: a character of several bytes is several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=CHAT_TEMPLATE)


def test_characters_of_several_tokens_appear_whole(make_speaker: MakeSpeaker, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = bytewise_tokenizer()
    said = "é 茶 ok"
    tokens = list(tokenizer(said)["input_ids"])
    monkeypatch.setattr("unwrite.chat.speaker.stream_tokens", lambda *_, **__: iter(tokens))
    speaker = make_speaker(tokenizer=tokenizer, max_tokens=99)
    speaker._limit = None
    reply = speaker.reply("tea", PROMPTING)
    shown = finish(reply)
    assert reply.text == said
    assert all(said.startswith(text) for text in shown)
    assert "\ufffd" not in "".join(shown)
    assert "\ufffd" in tokenizer.decode(tokens[:1])  # the control: a byte alone is not a character
