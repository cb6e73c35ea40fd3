"""What a search reads: the project's own files, which are small, and the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unwrite.editing.blocks import blocks_of_model
from unwrite.editing.exact import parameter_names
from unwrite.files.marker_lists import read_markers
from unwrite.files.tensors import read_tensors
from unwrite.models.loading import load_model
from unwrite.models.placement import parameters_of
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.templates import load_as_tokenized, stored_template
from unwrite.pipeline.tokens import read_tokens
from unwrite.schema.artifacts import Base
from unwrite.schema.params import Params, Runtime
from unwrite.schema.paths import DIRECTIONS
from unwrite.search.context import SearchInputs
from unwrite.terms import SETS


class SearchFiles(NamedTuple):
    """What a search reads apart from the model.

    base: record of the pinned model.
    template: the chat template that prompts were rendered with.
    target: token ids of the target validation prompts.
    baseline: token ids of the baseline validation prompts.
    markers: phrases that mark the behaviour.
    directions: unit vectors, [P, L+1, d].
    baseline_means: means over baseline prompts, [P, L+1, d].
    """

    base: Base
    template: str
    target: Sequence[Sequence[int]]
    baseline: Sequence[Sequence[int]]
    markers: Sequence[str]
    directions: Tensor
    baseline_means: Tensor


def read_files(params: Params, base: Base) -> SearchFiles:
    """Read everything that a search needs but the model.

    Raises:
        UnwriteError: a file is missing or damaged.
    """
    target, baseline = ([row.tokens for row in read_tokens(name, "validation")] for name in SETS)
    tensors = read_tensors(DIRECTIONS, "compute_directions")
    return SearchFiles(
        base=base,
        template=stored_template(),
        target=target,
        baseline=baseline,
        markers=read_markers(Path(params.judge.markers)),
        directions=tensors["directions"],
        baseline_means=tensors["baseline_mean"],
    )


def load_inputs(files: SearchFiles, folder: Path, dtype: str, runtime: Runtime) -> SearchInputs:
    """Load the model, and return it with the files.

    Args:
        files: result of `read_files`.
        folder: the pinned model's folder.
        dtype: dtype to compute in.
        runtime: section `runtime` of params.yaml, which places the model.
    """
    model = load_model(folder, dtype, runtime, files.base.quantization)
    return SearchInputs(
        base=files.base,
        model=model,
        tokenizer=load_as_tokenized(folder, files.template),
        target=files.target,
        baseline=files.baseline,
        markers=files.markers,
        directions=files.directions,
        baseline_means=files.baseline_means,
        blocks=blocks_of_model(parameters_of(model, parameter_names(files.base.writers)), folder),
    )


def read_inputs(params: Params, base: Base, dtype: str | None = None) -> SearchInputs:
    """Read everything that a search needs, and load the model, in this dtype or the one that base.json asks for."""
    files = read_files(params, base)
    return load_inputs(files, pinned_folder(base), dtype or base.compute_dtype, params.runtime)
