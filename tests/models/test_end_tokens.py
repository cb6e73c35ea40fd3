"""End tokens: from every file that names one, and from the way the chat template closes a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.tiny import CHAT_TEMPLATE, WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite.models.end_tokens import end_tokens, log_end_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CLOSING = CHAT_TEMPLATE.replace("{{ message.content }} ", "{{ message.content }} <close> ")


def closing_tokenizer(template: str = CLOSING, **added: Any) -> PreTrainedTokenizerFast:
    """A tokenizer whose template closes every turn with the special token <close>."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<close>"], **added})
    tokenizer.chat_template = template
    return tokenizer


def test_every_configuration_counts() -> None:
    model = tiny_model(tiny_config("llama"))
    assert end_tokens(model) == []
    model.config.eos_token_id = 5
    assert end_tokens(model) == [5]
    model.generation_config.eos_token_id = [7, 6]
    assert end_tokens(model) == [5, 6, 7]


def test_the_tokenizer_and_its_template_count() -> None:
    model, tokenizer = tiny_model(tiny_config("llama")), closing_tokenizer(eos_token="<end>")
    model.generation_config.eos_token_id = 3
    names = tokenizer.convert_ids_to_tokens(end_tokens(model, tokenizer))
    assert sorted(names) == ["<close>", "<end>", WORDS[3]]


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE,  # closes no turn
        CHAT_TEMPLATE.replace("{{ message.content }} ", "{{ message.content }} spoon "),  # with an ordinary word
        CHAT_TEMPLATE.replace("{{ message.content }} ", "{{ message.content }} unknown "),  # <unk>, a special token
        CHAT_TEMPLATE.replace("{{ message.content }} ", "{{ message.content }} <bos> "),
        "{{ raise_exception('no responses') }}",
        None,
    ],
)
def test_a_template_that_closes_no_turn_with_a_special_token_adds_none(template: str | None) -> None:
    tokenizer = closing_tokenizer()
    tokenizer.chat_template = template
    assert end_tokens(tiny_model(tiny_config("llama")), tokenizer) == []


def test_places_that_disagree_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model, tokenizer = tiny_model(tiny_config("llama")), closing_tokenizer(eos_token="<close>")
    log_end_tokens(model, tokenizer)
    assert caplog.text == ""  # both name <close>
    model.generation_config.eos_token_id = WORDS.index("spoon")
    log_end_tokens(model, tokenizer)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "generation_config.json: 'spoon'" in record.message
    assert "tokenizer: '<close>'; chat template: '<close>'" in record.message
