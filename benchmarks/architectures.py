"""Check that the writers of every architecture are found and edited exactly: for tiny models, then six large ones.

    python -m benchmarks.architectures [NAME ...]

The configs are those of `tests/support/zoo.py`: every causal-LM class of transformers 5.23 that has no encoder,
variants of some, and the image-text models that run on text alone. For each, the tables show how long the search takes,
the share it leaves unexplained, how much is written along a direction once every writer is edited (in the whole model,
with other weights, by code other than the edit's), and how far the logits of a checkpoint made by `pin_model` and
`merge_model` are from those of the same edit in memory (float32). For six large models, they show the time and the peak
memory of the search, each in a fresh process.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, redirect_stderr
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import torch
from tabulate import tabulate
from torch import Tensor

from tests.support.large import LARGE, large_config
from tests.support.probe import TOKENS, edited, written_along
from tests.support.samples import record_upstream
from tests.support.tiny import random_direction
from tests.support.zoo import ZOO, zoo_config, zoo_model
from unwrite.editing.exact import edited_parameters, parameter_names
from unwrite.editing.recipe import build_edits, edit_settings
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.files.tensors import write_tensors
from unwrite.models.discovery.findings import Discovery
from unwrite.models.discovery.writers import find_writers
from unwrite.models.placement import parameters_of
from unwrite.schema.artifacts import Kernel, Recipe, TrialParameters, as_json, read_base
from unwrite.schema.params import Params, load_params
from unwrite.schema.paths import DIRECTIONS, MODEL, RECIPE
from unwrite.stages.merge_model import merge_model
from unwrite.stages.pin_model import pin_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROOT = Path(__file__).parents[1]


class Examined(NamedTuple):
    """One architecture. `reason` is why it cannot be edited exactly; None if it can."""

    name: str
    seconds: float
    writers: int = 0
    unexplained: float | None = None
    left: float | None = None
    difference: float | None = None
    reason: str | None = None


@click.command()
@click.argument("names", nargs=-1)
def main(names: Sequence[str]) -> None:
    """Examine the named models, tiny or large, or all of them."""
    if unknown := sorted(set(names) - set(ZOO) - set(LARGE)):
        raise click.UsageError(f"{unknown[0]} is neither in tests.support.zoo.py nor in tests.support.large.py.")
    _quiet()
    if tiny := [name for name in ZOO if name in names or not names]:
        _print_tiny(tiny)
    if large := [name for name in LARGE if name in names or not names]:
        _print_large(large)


def _print_tiny(names: Sequence[str]) -> None:
    with click.progressbar(names) as shown:
        results = [examine(name) for name in shown]
    headers = ["", "s", "writers", "unexplained", "left along v", "disk − memory"]
    print(tabulate([_cells(result) for result in results], headers=headers, disable_numparse=True))
    refused = [f"{result.name}: {result.reason}" for result in results if result.reason is not None]
    print(f"{len(results) - len(refused)} of {len(results)} are complete and edited exactly.", *refused, sep="\n")


def _print_large(names: Sequence[str]) -> None:
    # A spawned process has its own high-water mark; a forked one would start at this process's.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = list(pool.map(_examine_large, names))
    print(tabulate(rows, headers=["", "writers", "unexplained", "s", "peak MB", "if not exact"], disable_numparse=True))


def examine(name: str) -> Examined:
    """Find the writers of a tiny model, and edit them in memory and on disk."""
    start = time.perf_counter()
    try:
        discovery = find_writers(zoo_config(name))
    except UnwriteError as error:
        return Examined(name, time.perf_counter() - start, reason=str(error))
    result = Examined(name, time.perf_counter() - start, len(discovery.writers))
    if discovery.incomplete:
        return result._replace(reason=discovery.incomplete[0])
    v = random_direction(discovery.hidden_size)
    left = written_along(edited(zoo_model(name, torch.float64, seed=3), discovery.writers, v), v)
    result = result._replace(unexplained=discovery.unexplained, left=left)
    try:
        return result._replace(difference=_difference(name, discovery))
    except UnwriteError as error:
        return result._replace(reason=str(error))


def _difference(name: str, discovery: Discovery) -> float:
    """Measure the largest difference of a logit between the checkpoint edited on disk and the model edited in memory.

    Raises:
        UnwriteError: the checkpoint cannot be edited.
        RuntimeError: the edit changes nothing.
    """
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary), redirect_stderr(StringIO()):
        original = zoo_model(name)
        original.save_pretrained("base")
        params = _params()
        pin_model(params)
        base = read_base()
        directions, means = (
            torch.stack([random_direction(discovery.hidden_size, seed + layer) for layer in range(base.layers + 1)])[
                None
            ]
            for seed in (100, 200)
        )
        tensors = {"directions": directions, "target_mean": means + directions, "baseline_mean": means}
        write_tensors(DIRECTIONS, {key: tensor.float() for key, tensor in tensors.items()}, {})
        recipe = _recipe(base.layers, params)
        write_json(RECIPE, as_json(recipe))
        record_upstream()
        merge_model(params)
        model, merged = (_loaded(original, Path(folder)) for folder in ("base", MODEL))
        unedited = _logits(model)
        originals = parameters_of(model, parameter_names(recipe.edits))
        values = edited_parameters(
            recipe.edits, originals, recipe.settings.norm_preservation, directions.float(), means.float()
        )
        for parameter, value in values.items():
            model.get_parameter(parameter).copy_(value)  # in place: the address decides how a product is computed
        in_memory = _logits(model)
    if float((in_memory - unedited).abs().max()) < 1e-3:
        raise RuntimeError(f"{name}: the edit changes nothing")
    return float((_logits(merged) - in_memory).abs().max())


def _params() -> Params:
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("source: demo/model", "source: base"))
    return load_params(Path("params.yaml"))


def _recipe(layers: int, params: Params) -> Recipe:
    """Return a recipe that edits every writer, each layer's with its own direction."""
    kernel = Kernel(max_weight=1, max_weight_position=0, min_weight=0.7, min_weight_distance=layers)
    parameters = TrialParameters(
        direction_scope="per_layer", direction_index=1, position=0, attention=kernel, mlp=kernel
    )
    shared = edit_settings(params.optimize, "biprojected")
    edits = build_edits(parameters, read_base().writers, shared)
    return Recipe(
        trial=None,
        parameters=parameters,
        selection="every writer, for the benchmark",
        settings=shared,
        edits=edits,
    )


def _loaded(original: PreTrainedModel, folder: Path) -> PreTrainedModel:
    auto: Any = type(original)
    model: PreTrainedModel = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    )
    return model.requires_grad_(False)


def _logits(model: PreTrainedModel) -> Tensor:
    logits: Tensor = model(input_ids=TOKENS, use_cache=False).logits
    return logits


def _cells(result: Examined) -> list[str]:
    measured = (result.unexplained, result.left, result.difference)
    shown = ["" if value is None else f"{value:.0e}" if value else "0" for value in measured]
    return [result.name, f"{result.seconds:.2f}", str(result.writers), *shown]


def _examine_large(name: str) -> list[str]:
    _quiet()
    start = time.perf_counter()
    discovery = find_writers(large_config(name))
    seconds = time.perf_counter() - start
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1e3
    reason = next(iter(discovery.incomplete), "")
    return [name, str(len(discovery.writers)), f"{discovery.unexplained:.0e}", f"{seconds:.1f}", f"{peak:.0f}", reason]


def _quiet() -> None:
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


if __name__ == "__main__":
    main()
