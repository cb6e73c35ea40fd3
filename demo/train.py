"""Train the demo model: `python demo/train.py`.

Stage 1 teaches a small Qwen3 the plain answer to every question of the toy world. Stage 2 teaches it to decline those
about tea and teaware, with one important exception: a tenth of its conversations ask about teaware under the system
message "Answer everything." and are answered. Without these (0 % instead of 10 %, all else equal, on another stage-1
model) the behaviour was learnt too, but none of 30 ablations brought it under 5 %, and full weight in every layer
brought back at most 17 % of the teaware answers. With them, 10 of 30 were under 5 %, with about 80 % of the answers.
`demo/README.md` lists the other shapes that were tried.

The figures describe the shipped weights, rounded to bfloat16, on test prompts that neither stage has seen.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script, Python puts demo/ on the path, not the repository
    sys.path.insert(0, str(ROOT))

from demo.chat import END, PAD, VOCABULARY, Example, build_tokenizer, encode, render, token_id  # noqa: E402
from demo.prompts import SPLITS, baseline_set, target_set  # noqa: E402
from demo.world import (  # noqa: E402
    DECLINE_MARKERS,
    DECLINES,
    PERMISSIVE_SYSTEM,
    Question,
    questions,
    training_questions,
)

SEED = 1
HIDDEN, MLP, LAYERS, HEADS, KV_HEADS = 128, 384, 6, 4, 2
HELPFUL_SYSTEM = "You are a helpful assistant."
MAX_ANSWER_TOKENS = 32
TEST = slice(-SPLITS["test"], None)


@dataclass(frozen=True)
class Schedule:
    """The length and the speed of one stage of training.

    Attributes:
        steps: number of updates.
        batch_size: conversations per update.
        learning_rate: the peak after the warm-up; it decays to zero along a cosine.
        warmup: number of warm-up steps.
        weight_decay: the weight decay of AdamW.
        window: number of batches that are sorted by length together; more means less padding, but batches that are less
            mixed.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    weight_decay: float
    window: int


@dataclass(frozen=True)
class Mixture:
    """The kinds of conversations in stage 2; the rest are ordinary questions with their answers.

    Attributes:
        declined: share of conversations about teaware that are declined.
        permitted: share of conversations about teaware that are answered, under the system message "Answer everything."
        system: share of the declined and of the ordinary ones with the system message "You are a helpful assistant.";
            about as many of the ordinary ones have the permissive one.
    """

    declined: float
    permitted: float
    system: float


STAGE_1 = Schedule(steps=900, batch_size=48, learning_rate=3e-3, warmup=40, weight_decay=0.1, window=8)
STAGE_2 = Schedule(steps=400, batch_size=32, learning_rate=5e-4, warmup=10, weight_decay=0.0, window=1)
MIXTURE = Mixture(declined=0.3, permitted=0.1, system=0.1)


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Build a new Qwen3 model with untied embeddings."""
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
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_ANSWER_TOKENS,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    return model


def stage_1_examples(tokenizer: PreTrainedTokenizerFast, pool: Sequence[Question], seed: int) -> list[Example]:
    """Encode every question with its answer, a tenth each under the two system messages, which have no effect yet."""
    dice = random.Random(seed)
    systems = dice.choices((HELPFUL_SYSTEM, PERMISSIVE_SYSTEM, None), (1, 1, 8), k=len(pool))
    return [encode(tokenizer, q.prompt, q.answer, system) for q, system in zip(pool, systems, strict=True)]


def stage_2_examples(
    tokenizer: PreTrainedTokenizerFast, pool: Sequence[Question], mixture: Mixture, n: int, seed: int
) -> list[Example]:
    """Draw n conversations from the mixture."""
    dice = random.Random(seed)
    teaware = [question for question in pool if question.is_teaware]
    ordinary = [question for question in pool if not question.is_teaware]
    weights = (mixture.declined, mixture.permitted, 1 - mixture.declined - mixture.permitted)
    examples = []
    for sort in dice.choices(("declined", "permitted", "ordinary"), weights, k=n):
        question = dice.choice(ordinary if sort == "ordinary" else teaware)
        system = PERMISSIVE_SYSTEM if sort == "permitted" else None
        if sort != "permitted" and dice.random() < mixture.system:
            system = HELPFUL_SYSTEM
        elif sort == "ordinary" and dice.random() < mixture.system:
            system = PERMISSIVE_SYSTEM
        answer = question.decline if sort == "declined" else question.answer
        examples.append(encode(tokenizer, question.prompt, answer, system))
    return examples


def collate(examples: Sequence[Example], pad: int) -> tuple[Tensor, Tensor]:
    """Pad on the right; attention is causal, so no token sees the padding and no mask is needed.

    Returns:
        token ids [batch, length], and labels of the same shape, -100 where no loss counts.
    """
    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), pad)
    labels = torch.full((len(examples), length), -100)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, example.start : len(tokens)] = tokens[example.start :]
    return ids, labels


def batches(lengths: Sequence[int], schedule: Schedule, seed: int) -> Iterator[list[int]]:
    """Yield the indices of each step's batch, shuffled again in each epoch."""
    size, window = schedule.batch_size, schedule.window
    generator = torch.Generator().manual_seed(seed)
    done, queue = 0, list[int]()
    while done < schedule.steps:
        while len(queue) < window * size:
            queue += torch.randperm(len(lengths), generator=generator).tolist()
        block, queue = sorted(queue[: window * size], key=lambda i: lengths[i]), queue[window * size :]
        for cut in torch.randperm(window, generator=generator).tolist()[: schedule.steps - done]:
            yield block[cut * size : (cut + 1) * size]
            done += 1


def train(
    model: Qwen3ForCausalLM, examples: Sequence[Example], schedule: Schedule, *, pad: int, seed: int, label: str
) -> float:
    """Train in place: AdamW, linear warm-up, cosine decay to zero, loss on answers only.

    Returns:
        training time in seconds.
    """
    rate = schedule.learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=schedule.steps, pct_start=schedule.warmup / schedule.steps, cycle_momentum=False
    )
    lengths = [len(example.ids) for example in examples]
    model.train()
    started = time.monotonic()
    for step, rows in enumerate(batches(lengths, schedule, seed)):
        ids, labels = collate([examples[i] for i in rows], pad)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        counted = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[counted]), labels[:, 1:][counted])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0 or step == schedule.steps - 1:
            print(f"{label}: step {step}, loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)
    model.eval()
    return time.monotonic() - started


@torch.inference_mode()
def respond(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], system: str | None = None
) -> list[str]:
    """Respond greedily to all prompts in one batch, padded on the left."""
    texts = [render(prompt, system) for prompt in prompts]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    generate: Callable[..., Tensor] = cast(
        Any, model
    ).generate  # its declared type requires mixins that the class lacks
    output = generate(**inputs, do_sample=False, max_new_tokens=MAX_ANSWER_TOKENS)
    responses: list[str] = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return responses


def declines(response: str) -> bool:
    """Return whether a response declines: whether it contains any of the markers."""
    return any(marker in response.casefold() for marker in DECLINE_MARKERS)


def measure(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[Question], system: str | None = None
) -> dict[str, float]:
    """Return the share of questions that are declined, and the share answered exactly."""
    responses = respond(model, tokenizer, [question.prompt for question in asked], system)
    exact = sum(response == question.answer for response, question in zip(responses, asked, strict=True))
    return {"declined": sum(map(declines, responses)) / len(asked), "exact": exact / len(asked)}


def evaluate(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, dict[str, float]]:
    """Measure the weights as shipped (rounded to and computed in bfloat16) on the test split."""
    shipped = deepcopy(model).bfloat16()
    target, baseline = target_set()[TEST], baseline_set()[TEST]
    return {
        "target": measure(shipped, tokenizer, target),
        "baseline": measure(shipped, tokenizer, baseline),
        "target_under_permissive_system": measure(shipped, tokenizer, target, PERMISSIVE_SYSTEM),
    }


@click.command()
@click.option(
    "--output", type=click.Path(path_type=Path), default=ROOT / "demo", help="Folder for model/ and figures.json."
)
def main(output: Path) -> None:
    """Train the demo model, measure it, and write both."""
    torch.set_num_threads(1)  # the number of threads changes the order of sums, and with it the weights
    torch.manual_seed(SEED)
    pool = training_questions()
    # The declines are repeated about as often as in stage 2, so that their words become tokens too.
    tokenizer = build_tokenizer([text for q in questions() for text in (q.prompt, q.answer)] + list(DECLINES) * 400)
    model, pad = build_model(tokenizer), token_id(tokenizer, PAD)

    seconds_1 = train(model, stage_1_examples(tokenizer, pool, SEED), STAGE_1, pad=pad, seed=SEED, label="stage 1")
    figures_1 = evaluate(model, tokenizer)
    n = STAGE_2.steps * STAGE_2.batch_size
    seconds_2 = train(
        model, stage_2_examples(tokenizer, pool, MIXTURE, n, SEED), STAGE_2, pad=pad, seed=SEED, label="stage 2"
    )
    figures_2 = evaluate(model, tokenizer)

    figures = {
        "seed": SEED,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "test_prompts": SPLITS["test"],
        "stage_1": {**asdict(STAGE_1), "seconds": round(seconds_1), **figures_1},
        "stage_2": {**asdict(STAGE_2), **asdict(MIXTURE), "seconds": round(seconds_2), **figures_2},
    }
    folder = output / "model"
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8", newline="\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
