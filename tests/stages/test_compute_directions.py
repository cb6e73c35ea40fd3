import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.schema.artifacts import as_json
from unwrite.schema.kept_prompts import KeptOfSet, KeptPrompts
from unwrite.schema.params import Params
from unwrite.schema.paths import KEPT_PROMPTS
from unwrite.stages.compute_directions import compute_directions

TARGET, BASELINE = (Path(f"artifacts/residuals/{name}.train.safetensors") for name in ("target", "baseline"))


def test_directions_are_the_projected_difference_of_winsorized_means(project: Path, params: Params) -> None:
    quantile = params.directions.winsorize.quantile

    def center(path: Path) -> torch.Tensor:
        x = load_file(path)["residuals"].double()
        threshold = x.abs().quantile(quantile, dim=-1, keepdim=True)
        return x.clamp(-threshold, threshold).mean(0)

    target, baseline = center(TARGET), center(BASELINE)
    g = baseline / baseline.norm(dim=-1, keepdim=True)
    v = target - baseline
    v = v - (v * g).sum(-1, keepdim=True) * g
    v = v / v.norm(dim=-1, keepdim=True)
    stored = load_file("artifacts/directions.safetensors")
    assert stored["directions"].shape == (2, 7, 128)
    assert stored["directions"].dtype == torch.float32
    assert torch.allclose(stored["directions"][:, 1:].double(), v[:, 1:], atol=1e-5)
    assert torch.allclose(stored["baseline_mean"].double(), baseline, rtol=1e-4, atol=1e-5)


def test_the_embedding_of_the_last_template_token_has_no_direction(project: Path) -> None:
    assert not load_file("artifacts/directions.safetensors")["directions"][0, 0].any()


def test_identical_residuals_have_no_direction(project: Path, params: Params) -> None:
    shutil.copy(BASELINE, TARGET)
    with pytest.raises(
        UnwriteError,
        match=r"residuals are identical at every layer .*Check that the two prompt sets differ",
    ):
        compute_directions(params)


def test_nan_in_the_residuals_is_named(project: Path, params: Params) -> None:
    residuals = load_file(TARGET)["residuals"]
    residuals[3, 0, 5, 7] = torch.nan
    write_tensors(TARGET, {"residuals": residuals}, {})
    with pytest.raises(
        UnwriteError, match=r"at residual index 5 in 1 of 12 prompts, first in prompt 3\. .* Set model\.dtype"
    ):
        compute_directions(params)


def test_prompts_that_are_not_kept_change_nothing(project: Path, params: Params) -> None:
    def keep(rows: list[int]) -> None:
        whole = KeptOfSet(prompts=12, shown=None, rows=list(range(12)))
        of_target = KeptOfSet(prompts=12, shown=len(rows), rows=rows)
        write_json(KEPT_PROMPTS, as_json(KeptPrompts(target=of_target, baseline=whole)))
        compute_directions(params)

    def directions() -> torch.Tensor:
        return load_file("artifacts/directions.safetensors")["directions"]

    residuals = load_file(TARGET)["residuals"]
    keep([row for row in range(12) if row != 5])
    without = directions()
    residuals[5] += 1000.0 * torch.randn(residuals[5].shape, generator=torch.Generator().manual_seed(0))
    write_tensors(TARGET, {"residuals": residuals}, {})
    compute_directions(params)
    assert torch.equal(directions(), without)
    keep(list(range(12)))  # the control
    assert not torch.allclose(directions(), without, atol=0.1)
