"""Compare the search on a GPU, with K trials per forward pass, with the plain way: random weights like Qwen3-4B's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from benchmarks.comparison import alternated, ratio, spread, table
from benchmarks.projects import project_copy
from benchmarks.search import measured, plain_trial, prepare_plain, settings_of, with_runtime
from unwrite.editing.recipe import edit_settings
from unwrite.files.tensors import write_tensors
from unwrite.models.batches import by_token_budget
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model
from unwrite.models.placement import pick_device
from unwrite.pipeline.tokens import TokenizedPrompt, write_tokens
from unwrite.schema.artifacts import Kernel, TrialParameters, read_base
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import DIRECTIONS, TOKENS
from unwrite.search.inputs import read_inputs
from unwrite.search.objective import prepare_objective
from unwrite.stages.pin_model import pin_model
from unwrite.terms import SETS

AT_ONCE = (1, 2, 4, 8, 16)
PROMPTS, SHORTEST, LONGEST, MAX_TOKENS = 100, 20, 60, 100
QWEN3_4B: Mapping[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "eos_token_id": None,
    "bos_token_id": None,
}


def report(repeats: int, config: Mapping[str, Any] = QWEN3_4B, at_once: Sequence[int] = AT_ONCE) -> str:
    """Return a table of the time per trial, by how many trials share a forward pass."""
    with _project(config) as params:
        base = read_base()
        plain = prepare_plain(settings_of(params))  # first, so that its memory counts as in use
        objective = prepare_objective(
            read_inputs(params, base),
            params.optimize,
            edit_settings(params.optimize, "none"),
            with_runtime(params, "activations", max(at_once)).runtime,
        )
        trials = [_trial(number, base.layers) for number in range(max(at_once))]

        def together(count: int) -> None:
            for result in objective.evaluate(trials[:count]):
                measured(result)

        ways: dict[str, Callable[[], object]] = {"plain way": partial(plain_trial, plain, trials[0])}
        ways |= {f"ours, K = {count}": partial(together, count) for count in at_once}
        alternated(ways, 1)  # a warm-up: kernels are chosen and memory is allocated
        seconds = alternated(ways, repeats)
    per_trial = {name: [s / count for s in seconds[name]] for name, count in zip(ways, (1, *at_once), strict=True)}
    single = per_trial[f"ours, K = {at_once[0]}"]
    rows = [
        [name, spread(taken, 3), ratio(per_trial["plain way"], taken), ratio(single, taken)]
        for name, taken in per_trial.items()
    ]
    about = f"{PROMPTS} + {PROMPTS} prompts of {SHORTEST}–{LONGEST} tokens, {MAX_TOKENS} response tokens, bfloat16."
    return f"{about}\n\n" + table(["", "s per trial", "plain way ÷ this", "K = 1 ÷ this"], rows)


@contextmanager
def _project(config: Mapping[str, Any]) -> Iterator[Params]:
    """Work in a project of random weights, prompts and directions; its behaviour is a word in some responses."""
    with project_copy():
        params = load_params()
        _write_model(Path("model"), config, pick_device(params.runtime.device))
        Path("markers.txt").write_text("none\n")
        changes: dict[str, dict[str, object]] = {
            "model": {"source": "model"},
            "judge": {"markers": "markers.txt"},
            "optimize": {"max_tokens": MAX_TOKENS},
        }
        params = params.model_copy(
            update={name: getattr(params, name).model_copy(update=change) for name, change in changes.items()}
        )
        with redirect_stderr(StringIO()):
            pin_model(params)
        base = read_base()
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(SHORTEST, LONGEST + 1, (2, PROMPTS), generator=generator).tolist()
        prompts = [
            [torch.randint(2, base.vocabulary, (length,), generator=generator).tolist() for length in row]
            for row in lengths
        ]
        for name, tokens in zip(SETS, prompts, strict=True):
            write_tokens(TOKENS, name, "validation", [TokenizedPrompt("", None, "", row) for row in tokens])
        shape = (1, base.layers + 1, base.hidden_size)
        directions, means = (torch.randn(shape, generator=generator) for _ in range(2))
        tensors = {"directions": normalize(directions, dim=-1), "baseline_mean": means}
        write_tensors(DIRECTIONS, tensors, {"orthogonalize": "none"})
        Path("markers.txt").write_text(f"w{_response_token(prompts[0])}\n")
        yield params


def _response_token(prompts: Sequence[Sequence[int]]) -> int:
    """Return a token of one response, whose word becomes the marker: any random weights generate it now and then."""
    base = read_base()
    model = load_model(Path("model"), base.compute_dtype)
    first = prompts[:1]
    batches = by_token_budget([len(prompt) for prompt in first], 1 << 20, padding_sensitive=False)
    return generate_greedily(model, first, 8, batches=batches)[0][-1]


def _write_model(folder: Path, config: Mapping[str, Any], device: torch.device) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    with device:
        model = Qwen3ForCausalLM._from_config(Qwen3Config(**config), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(config["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")))
    tokenizer.save_pretrained(folder)


def _trial(number: int, layers: int) -> TrialParameters:
    kernel = Kernel(
        max_weight=0.8 + 0.02 * number, max_weight_position=0.7 * layers, min_weight=0.2, min_weight_distance=layers
    )
    return TrialParameters(
        direction_scope="per_layer", direction_index=0.5 * layers, position=0, attention=kernel, mlp=kernel
    )
