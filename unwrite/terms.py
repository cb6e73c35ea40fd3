"""The closed vocabularies: every word that a parameter, a record or the command line accepts."""

from typing import Literal, get_args

Component = Literal["attention", "mlp"]
COMPONENTS: tuple[Component, ...] = get_args(Component)

NormPreservation = Literal["none", "pre", "rows", "columns"]
PostNorm = Literal["compensate", "ignore"]
CenterMethod = Literal["mean", "geometric_median"]
Orthogonalize = Literal["none", "projected", "biprojected"]
Scope = Literal["global", "per_layer", "spans"]
LayerSpan = tuple[int, int, int]
"""(source layer, first layer, last layer): the direction of the source is applied from first to last, inclusive."""

ComputeDtype = Literal["auto", "float32", "bfloat16", "float16"]
"""The dtype that a model computes in; `auto` is the dtype of its checkpoint."""

Quantization = Literal["none", "nf4", "int8"]
Sampler = Literal["gp", "tpe_constrained", "tpe"]
BackendName = Literal["weights", "activations"]
"""How trials are measured: on exchanged weights, or on edited activations."""

JudgeName = Literal["markers", "classifier"]
JudgeInput = Literal["answer", "prompt_and_answer"]
"""What a classifier reads: the answer, or the pair of prompt and answer."""
Degeneration = Literal["empty", "open thinking", "loop"]
"""Why a response is degenerate: no answer, a chain of thought without an end, the same thing over and over."""

ModelName = Literal["base", "edited"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)

Intervention = Literal["none", "add", "ablate"]
InterventionVector = Literal["direction", "difference", "random"]
"""What is added or ablated: the direction, the whole difference of the means, or a random vector as control."""

SetName = Literal["target", "baseline"]
SETS: tuple[SetName, ...] = get_args(SetName)
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
MEASURED_SPLITS: tuple[SplitName, ...] = ("train", "validation")
"""The splits whose residuals are extracted: directions come from the first, and the second tests them."""

LongPrompts = Literal["error", "truncate"]
"""What becomes of a prompt that, with its response, is longer than the model takes."""

MapProjection = Literal["pca", "pacmap"]
"""What a map of residuals shows: the direction and a principal component, or a layout by neighbours."""

Override = Literal["dirty", "stale", "altered", "paths", "unverified"]
"""A problem that `unwrite publish --allow` lets pass."""
OVERRIDES: tuple[Override, ...] = get_args(Override)
