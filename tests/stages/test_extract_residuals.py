import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.support.accelerator import Accelerator
from unwrite.errors import UnwriteError
from unwrite.models.residuals import extract_residuals
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.params import Params
from unwrite.stages.extract_residuals import extract
from unwrite.stages.pin_model import pin_model

RESIDUALS = Path("artifacts/residuals")


def test_residuals_are_the_hidden_states_at_the_requested_positions(project: Path) -> None:
    stored = load_file(RESIDUALS / "target.train.safetensors")["residuals"]
    assert stored.shape[:3] == (12, 2, 7)
    assert stored.dtype == torch.float32  # on a CPU, though the demo is stored in bfloat16
    model = AutoModelForCausalLM.from_pretrained("demo/model", dtype=torch.float32)
    for row, prompt in enumerate(read_tokens("target", "train")):
        with torch.no_grad():
            states = model(torch.tensor([prompt.tokens]), output_hidden_states=True).hidden_states
        for place, position in enumerate((-1, -2)):
            expected = torch.stack([state[0, position] for state in states[:-1]])
            error = (stored[row, place, :-1].float() - expected).norm(dim=-1) / expected.norm(dim=-1)
            assert float(error.max()) < 1e-3


def test_nan_is_reported_with_layer_and_prompt(project: Path, params: Params) -> None:
    weights = Path("demo/model/model.safetensors")
    tensors = load_file(weights)
    tensors["model.layers.2.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
    pin_model(params)
    with pytest.raises(UnwriteError, match=r"target train .* prompt at index \d+ is NaN or infinite after layer 2"):
        extract(params)


def test_a_position_before_the_first_token_is_refused(project: Path, params: Params) -> None:
    far = params.model_copy(update={"residuals": params.residuals.model_copy(update={"positions": (-1, -200)})})
    with pytest.raises(UnwriteError, match=r"residuals.positions contains -200. Remove"):
        extract(far)


@pytest.mark.parametrize("padding_sensitive", [True, False])
def test_lengths_are_mixed_only_if_padding_changes_nothing(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, padding_sensitive: bool
) -> None:
    before = load_file(RESIDUALS / "target.train.safetensors")["residuals"]
    base = Path("artifacts/base.json")
    base.write_text(json.dumps(json.loads(base.read_text()) | {"padding_sensitive": padding_sensitive}))
    lengths: list[set[int]] = []

    def spy(model: Any, prompts: Any, *rest: Any, batches: Any, **settings: Any) -> Any:
        lengths.extend({len(prompts[row]) for row in batch} for batch in batches)
        return extract_residuals(model, prompts, *rest, batches=batches, **settings)

    monkeypatch.setattr("unwrite.stages.extract_residuals.extract_residuals", spy)
    extract(params)
    assert (max(map(len, lengths)) == 1) == padding_sensitive
    after = load_file(RESIDUALS / "target.train.safetensors")["residuals"]
    assert float((after.float() - before.float()).norm() / before.float().norm()) < 0.01  # bfloat16


@pytest.mark.parametrize(("free", "most_tokens", "measured"), [(10**9, 10**9, 3), (10**6, 10**6 * 0.7 / 4000, 1)])
def test_passes_are_as_long_as_the_memory_of_an_accelerator_allows(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, free: int, most_tokens: float, measured: int
) -> None:
    before = load_file(RESIDUALS / "target.train.safetensors")["residuals"]
    auto = params.model_copy(update={"runtime": params.runtime.model_copy(update={"batch_tokens": "auto"})})
    accelerator = Accelerator(total=1000 + free, a_token=4000)
    accelerator.pretend(monkeypatch, "unwrite.stages.extract_residuals")
    sizes: list[int] = []

    def spy(model: Any, prompts: Any, *rest: Any, batches: Any, **settings: Any) -> Any:
        sizes.extend(len(batch) * max(len(prompts[row]) for row in batch) for batch in batches)
        return extract_residuals(model, prompts, *rest, batches=batches, **settings)

    monkeypatch.setattr("unwrite.stages.extract_residuals.extract_residuals", spy)
    extract(auto)
    assert len(accelerator.passes) == measured  # if the first one does not fit, a single row is measured
    assert max(sizes) <= most_tokens
    assert (len(sizes) == 4) == (measured == 3)  # one pass per set and split
    after = load_file(RESIDUALS / "target.train.safetensors")["residuals"]
    assert float((after.float() - before.float()).norm() / before.float().norm()) < 0.01  # bfloat16
