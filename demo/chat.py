"""The demo model's tokenizer and chat template.

They fix the rendered form of a prompt: `<|user|>`, a newline, the text, `<|end|>`, a newline, and `<|assistant|>` with
a newline after it, where the answer begins. The answer ends with `<|end|>`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
END, PAD = "<|end|>", "<|pad|>"
ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role not in ["system", "user", "assistant"] -%}
{{- raise_exception("unknown role: " ~ message.role) -}}
{%- endif -%}
{{- "<|" ~ message.role ~ "|>\\n" ~ message.content ~ "<|end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|assistant|>\\n" -}}
{%- endif -%}
"""


@dataclass(frozen=True)
class Example:
    """One conversation to learn.

    Attributes:
        ids: token ids of the rendered conversation, including the answer's end token.
        start: index of the answer's first token; the loss counts from there.
    """

    ids: tuple[int, ...]
    start: int


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the texts; it can encode any other text too, at worst byte by byte."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *ROLE_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(ROLE_TOKENS),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Return the id of a token in the vocabulary."""
    number = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(number, int):
        msg = f"{token!r} must be one token of the vocabulary, got id {number!r}"
        raise TypeError(msg)
    return number


def render(prompt: str, system: str | None = None) -> str:
    """Render one prompt up to where the answer begins, as the chat template does (a test compares the two)."""
    head = f"<|system|>\n{system}{END}\n" if system else ""
    return f"{head}<|user|>\n{prompt}{END}\n<|assistant|>\n"


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, system: str | None = None) -> Example:
    """Encode one conversation, including the answer's end token."""
    head: list[int] = tokenizer(render(prompt, system))["input_ids"]
    tail: list[int] = tokenizer(answer + END)["input_ids"]
    return Example((*head, *tail), len(head))
