"""PLACEHOLDER."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, Python puts demo/ and not the repository on the path
    sys.path.insert(0, str(ROOT))

from demo.world import PERMISSIVE_SYSTEM, Question, order, questions, training_questions  # noqa: E402

SEED = 1
VOCABULARY = 1024
HIDDEN, MLP, LAYERS, HEADS, KV_HEADS = 192, 512, 6, 6, 3
END, PAD = "<|end|>", "<|pad|>"
SPECIAL_TOKENS = (PAD, END, "<|system|>", "<|user|>", "<|assistant|>")
HELPFUL_SYSTEM = "You are a helpful assistant."

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
        ids: Token ids of the rendered conversation, the final end token included.
        start: Index of the answer's first token; the loss is on this one and the ones after it.
    """

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float = 0.0


STAGE_1 = Schedule(steps=600, batch_size=64, learning_rate=3e-3, warmup=40)
STAGE_2 = Schedule(steps=150, batch_size=48, learning_rate=5e-4, warmup=10)


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the texts: any other text can be encoded with it, at worst byte by byte."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(SPECIAL_TOKENS[2:]),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A fresh Qwen3 model of 2.7 million parameters."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def render(prompt: str, system: str | None = None) -> str:
    """The prompt as the chat template would render it, up to where the answer begins."""
    head = f"<|system|>\n{system}{END}\n" if system else ""
    return f"{head}<|user|>\n{prompt}{END}\n<|assistant|>\n"


def encode(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, system: str | None = None) -> Example:
    """Encode one conversation; the answer ends with the end token, which is the end of the text too."""
    head = tokenizer(render(prompt, system))["input_ids"]
    return Example(tuple(head + tokenizer(answer + END)["input_ids"]), len(head))


def collate(examples: Sequence[Example], pad: int) -> tuple[Tensor, Tensor]:
    """Pad on the right.

    Returns:
        Token ids, shape (batch, length), and labels of the same shape: -100 where there is no loss.
    """
    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), pad)
    labels = torch.full((len(examples), length), -100)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, example.start : len(tokens)] = tokens[example.start :]
    return ids, labels


def batches(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Indices of `steps` batches, shuffled anew each epoch.

    Eight batches at a time are sorted by length before they are cut, and come in random order: a third less padding.
    """
    generator = torch.Generator().manual_seed(seed)
    done, queue = 0, list[int]()
    while done < steps:
        while len(queue) < 8 * batch_size:
            queue += torch.randperm(len(lengths), generator=generator).tolist()
        window, queue = sorted(queue[: 8 * batch_size], key=lambda i: lengths[i]), queue[8 * batch_size :]
        for cut in torch.randperm(8, generator=generator).tolist()[: steps - done]:
            yield window[cut * batch_size : (cut + 1) * batch_size]
            done += 1


def train(model: Qwen3ForCausalLM, examples: Sequence[Example], schedule: Schedule, seed: int, label: str) -> None:
    """Train in place: AdamW, linear warm-up, cosine decay to zero, loss on answers only."""
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        schedule.learning_rate,
        total_steps=schedule.steps,
        pct_start=schedule.warmup / schedule.steps,
        cycle_momentum=False,
    )
    pad = int(model.config.pad_token_id)
    model.train()
    started = time.monotonic()
    lengths = [len(example.ids) for example in examples]
    for step, rows in enumerate(batches(lengths, schedule.batch_size, schedule.steps, seed)):
        ids, labels = collate([examples[i] for i in rows], pad)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]), labels[:, 1:][wanted])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 50 == 0 or step == schedule.steps - 1:
            print(f"{label}: step {step}, loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)
    model.eval()


@torch.inference_mode()
def generate(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], system: str | None = None
) -> list[str]:
    """Answer greedily, in batches padded on the left."""
    answers: list[str] = []
    for start in range(0, len(prompts), 100):
        texts = [render(prompt, system) for prompt in prompts[start : start + 100]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
        output = model.generate(**inputs, do_sample=False, max_new_tokens=32)
        answers += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers
