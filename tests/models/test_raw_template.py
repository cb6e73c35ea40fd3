"""Plain text begins with what the tokenizer puts before any text, and with nothing that it puts behind."""

from __future__ import annotations

import pytest

from tests.support.tiny import CHAT_TEMPLATE, WORDS, tiny_tokenizer
from unwrite.models.raw_template import RAW_TEMPLATE, is_raw, opening_tokens

BOS, END = WORDS.index("<bos>"), WORDS.index("no")


@pytest.mark.parametrize(
    ("around", "expected"),
    [("<bos> $A", [BOS]), ("<bos> $A no", [BOS]), ("$A no", []), ("$A", []), ("<bos> <bos> $A no", [BOS, BOS])],
)
def test_only_what_is_put_before_a_text_opens_it(around: str, expected: list[int]) -> None:
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=around, pair=None, special_tokens=[("<bos>", BOS), ("no", END)]
    )
    assert opening_tokens(tokenizer, "teapot kettle") == expected


def test_the_template_is_told_from_any_other() -> None:
    tokenizer = tiny_tokenizer()
    assert not is_raw(tokenizer)
    tokenizer.chat_template = RAW_TEMPLATE
    assert is_raw(tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    assert not is_raw(tokenizer)


def test_a_text_is_rendered_as_it_is_behind_its_system_prompt() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = RAW_TEMPLATE
    messages = [{"role": "system", "content": "saucer"}, {"role": "user", "content": " teapot\n"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == "saucer\n\n teapot\n"
