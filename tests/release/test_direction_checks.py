"""A directions file holds the means, what follows from them, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.releases import Release, changed_json, failed, rewrite_manifest, verified
from unwrite.core.direction_set import compute_directions
from unwrite.release.direction_checks import follows_from_means

Tensors = dict[str, Tensor]


def with_directions(release: Release, change: Callable[[Tensors], Tensors], metadata: dict[str, str] | None) -> str:
    """The failure of the check, with the directions file changed and listed again."""
    path = release.folder / "directions.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path, metadata)
    rewrite_manifest(release)
    return failed(verified(release)).get("directions", "")


def noise_where_no_edit_looks(tensors: Tensors) -> Tensors:
    directions = tensors["directions"].clone()
    directions[0, 3] = torch.nn.functional.normalize(torch.arange(32.0), dim=0)
    return tensors | {"directions": directions}


def too_long(tensors: Tensors) -> Tensors:
    return tensors | {"directions": 2 * tensors["directions"]}


def second_position(tensors: Tensors) -> Tensors:
    return {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}


def infinite_mean(tensors: Tensors) -> Tensors:
    means = tensors["target_mean"].clone()
    means[0, 3, 0] = torch.inf
    return tensors | {"target_mean": means}


def half_precision(tensors: Tensors) -> Tensors:
    return {name: tensor.half() for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (noise_where_no_edit_looks, "position 0, residual index 3 does not follow from the means"),
        (too_long, "is neither a unit vector nor zero"),
        (second_position, "it holds 2 positions, but residuals.positions lists 1"),
        (infinite_mean, "NaN or infinite"),
        (half_precision, "must be float32"),
    ],
)
def test_tensors_that_do_not_follow_fail(change: Callable[[Tensors], Tensors], message: str, release: Release) -> None:
    assert with_directions(release, dict, {"unwrite": "{}"}) == ""
    assert message in with_directions(release, change, {"unwrite": "{}"})


SETTINGS = {"center": "mean", "orthogonalize": "projected", "winsorize": {"quantile": 0.995}}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"payload": "x"}, "holds more than its tensors"),
        ({"unwrite": "{}", "payload": "x"}, "holds more than its tensors"),
        ({"unwrite": json.dumps({"payload": 1})}, "does not state how it was computed"),
        ({"unwrite": "{"}, "cannot be read"),
        ({"unwrite": json.dumps(SETTINGS | {"orthogonalize": "none"})}, "but edit.json says 'projected'"),
        ({"unwrite": json.dumps(SETTINGS | {"center": "geometric_median"})}, "other settings than the manifest"),
    ],
)
def test_metadata_holds_the_settings_and_no_payload(metadata: dict[str, str], message: str, release: Release) -> None:
    assert with_directions(release, dict, {"unwrite": json.dumps(SETTINGS, sort_keys=True)}) == ""
    assert message in with_directions(release, dict, metadata)


def test_spaces_after_the_header_are_found(release: Release) -> None:
    path = release.folder / "directions.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes((length + 64).to_bytes(8, "little") + data[8 : 8 + length] + b" " * 64 + data[8 + length :])
    rewrite_manifest(release)
    assert "holds more than its tensors" in failed(verified(release))["directions"]


def test_a_position_that_no_parameter_counts_is_told(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        del manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["residuals"]
    with_directions(release, second_position, None)
    with changed_json(release.folder / "provenance.json") as manifest:
        del manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]["residuals"]
    (check,) = [check for check in verified(release).checks if check.name == "directions"]
    assert (check.outcome, check.notes) == ("passed", ["2 positions; the edit uses position 0"])


@pytest.mark.parametrize("orthogonalization", ["none", "projected", "biprojected"])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_computed_directions_follow_even_where_the_sets_hardly_differ(orthogonalization: str, size: float) -> None:
    generator = torch.Generator().manual_seed(5)
    target, baseline = torch.randn(2, 16, 2, 6, 24, generator=generator)
    baseline[:, :, 0] = target[:, :, 0] = target[0, 0, 0]  # the last token of a template: equal for all prompts
    for index, share in enumerate((1e-2, 1e-4, 1e-5), start=1):
        target[:, :, index] = baseline[:, :, index] + share * target[:, :, index]
    tensors = compute_directions(size * target, size * baseline, orthogonalization=orthogonalization)  # type: ignore[arg-type]
    means = (tensors["target_mean"], tensors["baseline_mean"])
    directions = tensors["directions"].double()
    assert bool(follows_from_means(directions, *means, orthogonalization != "none").all())
    assert not bool(follows_from_means(-directions, *means, orthogonalization != "none")[:, 4:].any())
