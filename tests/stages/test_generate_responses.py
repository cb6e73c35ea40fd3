"""Generating: responses and KL divergences equal those of plain transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.accelerator import Accelerator
from unwrite.evaluation.divergence import teacher_force
from unwrite.files.records import read_jsonl
from unwrite.models.generation import generate_greedily
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.params import Params
from unwrite.stages.generate_responses import generate_responses

RESPONSES = Path("artifacts/responses")


def test_responses_are_those_of_plain_transformers(project: Path) -> None:
    """The base and the released folder, loaded in plain transformers, give the recorded responses."""
    for which, folder in (("base", "demo/model"), ("edited", "artifacts/model")):
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        rows = read_jsonl(RESPONSES / f"{which}.target.jsonl", ["response"])
        for row, prompt in zip(rows, read_tokens("target", "test"), strict=True):
            ids = model.generate(torch.tensor([prompt.tokens]), max_new_tokens=16, do_sample=False)
            text = tokenizer.decode(ids[0, len(prompt.tokens) :], skip_special_tokens=True).strip()
            assert row["response"] == text
            assert row["prompt"] == prompt.prompt


def test_the_kl_of_every_baseline_prompt_is_that_of_plain_transformers(project: Path) -> None:
    rows = read_jsonl(RESPONSES / "kl.jsonl", ["prompt", "kl_first_token", "kl_response"])
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in ("demo/model", "artifacts/model")]
    for row, prompt in zip(rows, read_tokens("baseline", "test"), strict=True):
        with torch.no_grad():
            base, edited = (
                model(torch.tensor([prompt.tokens])).logits[0, -1].double().log_softmax(-1) for model in models
            )
        expected = float((base.exp() * (base - edited)).sum())
        # bfloat16 logits depend a little on how rows are batched.
        assert abs(row["kl_first_token"] - expected) < 0.02 + 0.3 * expected


def test_only_test_prompts_are_used(project: Path) -> None:
    prompts = [row.prompt for row in read_tokens("baseline", "test")]
    with (RESPONSES / "base.baseline.jsonl").open() as file:
        assert [json.loads(line)["prompt"] for line in file] == prompts


def test_the_response_kl_is_averaged_over_the_base_response(project: Path) -> None:
    """Against a float64 recomputation, token by token, over the first four tokens of the base model's own response."""
    rows = read_jsonl(RESPONSES / "kl.jsonl", ["prompt", "kl_first_token", "kl_response"])
    models: list[Any] = [AutoModelForCausalLM.from_pretrained(folder) for folder in ("demo/model", "artifacts/model")]
    expected = []
    for prompt in read_tokens("baseline", "test"):
        ids, tokens = list(prompt.tokens), []
        for _ in range(4):
            with torch.no_grad():
                base, edited = (model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1) for model in models)
            tokens.append(float((base.exp() * (base - edited)).sum()))
            ids.append(int(base.argmax()))
        expected.append(sum(tokens) / len(tokens))
    actual = [row["kl_response"] for row in rows]
    assert actual != [row["kl_first_token"] for row in rows]
    # bfloat16 logits depend a little on how rows are batched; over the set the differences average out.
    assert abs(sum(actual) - sum(expected)) < 0.02 + 0.2 * sum(expected)


@pytest.mark.parametrize("padding_sensitive", [True, False])
def test_lengths_share_a_batch_only_if_padding_changes_nothing(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, padding_sensitive: bool
) -> None:
    base = Path("artifacts/base.json")
    base.write_text(json.dumps(json.loads(base.read_text()) | {"padding_sensitive": padding_sensitive}))
    generated: list[set[int]] = []
    teacher_forced: list[set[int]] = []

    def spy_on_generating(model: Any, prompts: Any, *rest: Any, batches: Any, **settings: Any) -> Any:
        generated.extend({len(prompts[row]) for row in batch} for batch in batches)
        return generate_greedily(model, prompts, *rest, batches=batches, **settings)

    def spy_on_forcing(model: Any, prompts: Any, *rest: Any, **settings: Any) -> Any:
        teacher_forced.extend({len(prompts[row]) for row in batch} for batch in settings["batches"])
        return teacher_force(model, prompts, *rest, **settings)

    monkeypatch.setattr("unwrite.evaluation.responding.generate_greedily", spy_on_generating)
    monkeypatch.setattr("unwrite.stages.generate_responses.teacher_force", spy_on_forcing)
    generate_responses(params)
    for lengths in (generated, teacher_forced):
        assert (max(map(len, lengths)) == 1) == padding_sensitive


def test_passes_are_as_long_as_the_memory_of_an_accelerator_allows(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_jsonl(RESPONSES / "base.target.jsonl", ["response"])
    auto = params.model_copy(update={"runtime": params.runtime.model_copy(update={"batch_tokens": "auto"})})
    accelerator = Accelerator(total=10**9, a_token=4000)
    accelerator.pretend(monkeypatch, "unwrite.evaluation.pass_limits")
    batched: list[list[int]] = []

    def spy(model: Any, prompts: Any, *rest: Any, batches: Any, **settings: Any) -> Any:
        batched.append([len(batch) for batch in batches])
        return generate_greedily(model, prompts, *rest, batches=batches, **settings)

    monkeypatch.setattr("unwrite.evaluation.responding.generate_greedily", spy)
    generate_responses(auto)
    assert len(accelerator.passes) == 3  # measured once for the whole stage
    assert batched == [[8], [8], [50]] * 2  # target, baseline and near misses, of both models
    assert read_jsonl(RESPONSES / "base.target.jsonl", ["response"]) == before
