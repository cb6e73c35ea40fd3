"""Compare residuals read by hooks with `generate(output_hidden_states=True)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from benchmarks.comparison import alternated, peak_memory, ratio, spread, table
from unwrite.models.batches import FORWARD_TOKENS, by_token_budget, left_padded
from unwrite.models.loading import load_model
from unwrite.models.residuals import extract_residuals
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import read_base
from unwrite.terms import SETS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Prompts = Sequence[Sequence[int]]
Subject = tuple[
    Literal["project", "random"], int, int
]  # which model, how many prompts, how many tokens each (the project's: their own)

LONG: Subject = ("random", 16, 512)
COMMON = 32  # prompts per pass, a common default
LAYERS, HIDDEN, MLP, VOCABULARY = 12, 256, 768, 32000


def report(repeats: int) -> str:
    """Return tables of time, memory and growth."""
    rows: list[list[object]] = []
    memory: list[list[object]] = []
    count = len(_project_prompts())
    project: Subject = ("project", count, 0)
    for title, subject in ((_title(count), project), ("12 layers, 16 × 512 tokens", LONG)):
        model, prompts = prepared(subject)
        own = _own_rows(prompts)
        sizes = sorted({own, COMMON if subject is project else len(prompts)})
        ways = {"ours": partial(ours, model, prompts)}
        ways |= {f"plain, {size} per pass": partial(plain, model, prompts, size) for size in sizes}
        _check(*(way() for way in ways.values()))
        seconds = alternated(ways, repeats)
        rows += [[title, name, spread(s), ratio(s, seconds["ours"])] for name, s in seconds.items()]
    loaded = peak_memory(_single_run, LONG, "nothing", 0)
    memory.append(["the model alone", f"{loaded:.0f}", ""])
    plain_ways = [(f"plain, {size} per pass", "plain", size) for size in (4, 16)]
    for name, way, size in [("ours", "ours", 0), *plain_ways]:
        peak = peak_memory(_single_run, LONG, way, size)
        memory.append([name, f"{peak:.0f}", f"{peak - loaded:.0f}"])
    return "\n\n".join(
        [
            table(["", "", "s", "this ÷ ours"], rows),
            "12 layers, 16 × 512 tokens:\n\n" + table(["", "peak MB", "above the model"], memory),
            _growth(2, count),
        ]
    )


def ours(model: PreTrainedModel, prompts: Prompts) -> Tensor:
    """Extract the residuals [n, L+1, d] with `extract_residuals`."""
    batches = by_token_budget([len(tokens) for tokens in prompts], FORWARD_TOKENS, padding_sensitive=False)
    return extract_residuals(model, prompts, batches=batches)[:, 0]


@torch.inference_mode()
def plain(model: PreTrainedModel, prompts: Prompts, size: int) -> Tensor:
    """Generate one token and return all hidden states [n, L+1, d], with `size` prompts per pass in the given order."""
    generating: Any = model
    residuals = []
    for start in range(0, len(prompts), size):
        padded = left_padded(prompts[start : start + size], model.device)
        output = generating.generate(
            input_ids=padded["input_ids"],
            attention_mask=padded["attention_mask"],
            max_new_tokens=1,
            do_sample=False,
            pad_token_id=0,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
        residuals.append(torch.stack([states[:, -1] for states in output.hidden_states[0]], dim=1).cpu())
    return torch.cat(residuals)


def prepared(subject: Subject) -> tuple[PreTrainedModel, Prompts]:
    """Return a model and its prompts: the project's with its train prompts, or random weights with random prompts."""
    model_name, count, length = subject
    if model_name == "project":
        base = read_base()
        model = load_model(pinned_folder(base), base.compute_dtype, torch.device("cpu"))
        return model, _project_prompts()[:count]
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, VOCABULARY, (count, length), generator=generator).tolist()
    return _random_model(), tokens


def _project_prompts() -> Prompts:
    return [row.tokens for name in SETS for row in read_tokens(name, "train")]


def _title(count: int) -> str:
    return f"{read_base().source}, {count} prompts"


def _random_model() -> PreTrainedModel:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        eos_token_id=None,
        bos_token_id=None,
    )
    random: PreTrainedModel = Qwen3ForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    return random


def _check(reference: Tensor, *others: Tensor) -> None:
    """Check that all residuals agree before the last layer; after it, transformers returns the final norm's output.

    Raises:
        RuntimeError: they differ.
    """
    for other in others:
        apart = (reference - other)[:, :-1].float().norm() / reference[:, :-1].float().norm()
        if not apart < 0.02:
            raise RuntimeError(f"Residuals differ by {float(apart):.1%}.")


def _own_rows(prompts: Prompts) -> int:
    """Return the largest number of prompts that share a pass of `extract_residuals`."""
    return max(map(len, by_token_budget([len(tokens) for tokens in prompts], FORWARD_TOKENS, padding_sensitive=False)))


def _growth(repeats: int, most: int) -> str:
    subjects: list[tuple[str, Subject]] = [
        *((_title(count), ("project", count, 0)) for count in (most // 4, most // 2, most)),
        *((f"12 layers, 16 × {length} tokens", ("random", 16, length)) for length in (64, 128, 256)),
    ]
    rows = []
    for title, subject in subjects:
        model, prompts = prepared(subject)
        ways: dict[str, Callable[[], object]] = {
            "plain": partial(plain, model, prompts, COMMON),
            "ours": partial(ours, model, prompts),
        }
        seconds = alternated(ways, repeats)
        rows.append([title, *(f"{median(seconds[name]):.2f}" for name in ("ours", "plain")), ratio(*seconds.values())])
    return f"Growth, plain way with {COMMON} per pass:\n\n" + table(["", "ours s", "plain s", "plain ÷ ours"], rows)


def _single_run(subject: Subject, way: str, size: int) -> None:
    """Run one extraction, to measure its memory."""
    model, prompts = prepared(subject)
    if way == "ours":
        ours(model, prompts)
    elif way == "plain":
        plain(model, prompts, size)
