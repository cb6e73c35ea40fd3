"""Find the parameters that write the residual stream, by measurement on a miniature, and prove them on every layer.

`branches` finds the modules of a layer that add into the stream, `parameters` the weights by which they do, and `proof`
proves both on each layer. This module combines them for a whole model.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.captured_layers import CalledLayer, CapturedLayers, StructureError, capture_layers
from unwrite.models.discovery.branches import Branch, Examination, Leaf, leaves
from unwrite.models.discovery.components import find_components
from unwrite.models.discovery.findings import Discovery, FoundWriter
from unwrite.models.discovery.float64 import float64_throughout
from unwrite.models.discovery.miniature import filled, filled_while_run, miniatures
from unwrite.models.discovery.narrowing import VOCABULARY
from unwrite.models.discovery.padding import is_padding_sensitive
from unwrite.models.discovery.probes import (
    TOLERANCE,
    multipliers_into,
    probe_direction,
    record_layer,
    run_to,
    seeded,
)
from unwrite.models.discovery.proof import examine_layer
from unwrite.models.discovery.seams import writes_between
from unwrite.models.discovery.sharing import merge_shared
from unwrite.terms import Component

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_FEWEST_TOKENS = 16  # in the vocabulary
_LENGTH = 34  # tokens in a prompt: more than a window or a block of a few could hide a branch behind


class _Run(NamedTuple):
    """A miniature that ran on some tokens, what writes between its layers, and these in a run that shares one token."""

    model: PreTrainedModel
    captured: CapturedLayers
    between: list[str]
    elsewhere: list[CalledLayer]
    padding_sensitive: bool


class _LayerWriters(NamedTuple):
    """The writers of one layer, and the examination that found them."""

    writers: list[FoundWriter]
    examination: Examination


@torch.no_grad()
def find_writers(config: PreTrainedConfig, *, padding: bool = True) -> Discovery:
    """Find the residual writers of a decoder-only model from its config, without its weights.

    What cannot be edited exactly is listed in `incomplete`, with the reason. In such a layer, only modules whose own
    output is proven to lose the direction count as writers. Only modules that run on text are examined.

    Args:
        config: the configuration of the model.
        padding: whether to measure if padding changes what the model computes; unmeasured, it counts as sensitive.

    Raises:
        UnwriteError: the model is not a decoder-only model that transformers can build, does not run on text alone, or
            has no decoder stack.
    """
    with float64_throughout():
        run = _run_miniature(config, padding=padding)
        incomplete = [*run.between]
        incomplete += [f"{name} runs after the layers and can write the stream" for name in run.captured.after]
        writers: list[FoundWriter] = []
        known: dict[Any, tuple[Branch, ...]] = {}
        unexplained = 0.0
        for index in range(len(run.elsewhere)):
            kind = _layer_kind(run.captured.layers[index].module)
            found = _find_in_layer(run, index, known.get(kind))
            known.setdefault(kind, found.examination.branches)
            writers += found.writers
            incomplete += [f"layer {index}: {reason}" for reason in found.examination.reasons]
            unexplained = max(unexplained, found.examination.unexplained)
        merged = merge_shared(run.model, writers)
    text = config.get_text_config()
    return Discovery(
        architecture=type(run.model).__name__,
        layers=len(run.elsewhere),
        hidden_size=text.hidden_size,
        vocabulary=text.vocab_size,
        writers=merged.writers,
        unexplained=unexplained,
        incomplete=incomplete + merged.reasons,
        padding_sensitive=run.padding_sensitive,
        streams=run.captured.layers[0].streams,
    )


def _run_miniature(config: PreTrainedConfig, *, padding: bool) -> _Run:
    """Run the narrowest miniature that does run; end at once with what no width changes."""
    failure: UnwriteError | None = None
    for model in miniatures(config):
        try:
            return _run_twice(model, padding=padding)
        except StructureError:
            raise  # a wider one would be refused too
        except UnwriteError as error:
            failure = UnwriteError(str(error))  # without the traceback, which keeps the model
        del model  # before the next one is built, which is wider
        gc.collect()
    assert failure is not None
    raise failure


def _run_twice(model: PreTrainedModel, *, padding: bool) -> _Run:
    with filled_while_run(model):
        tokens, others = _two_prompts(model)
        captured, elsewhere = (capture_layers(model, {"input_ids": ids}) for ids in (tokens, others))
        width = captured.layers[0].width()
        between = [] if captured.chained else writes_between(model, {"input_ids": tokens}, width)
    with filled_while_run(model, from_pool=True):  # many passes, which need no particular values
        padding_sensitive = not padding or is_padding_sensitive(model)
    return _Run(model, captured, between, elsewhere.layers, padding_sensitive)


def _two_prompts(model: PreTrainedModel) -> Tensor:
    """Return two batches of random tokens [2, 2, tokens] that share the last token alone."""
    embeddings: Any = model.get_input_embeddings()
    highest = min(VOCABULARY, len(embeddings.weight))
    if highest < _FEWEST_TOKENS:
        raise UnwriteError(
            f"{type(model).__name__} must have at least {_FEWEST_TOKENS} tokens to be examined, got {highest}."
        )
    tokens = torch.randint(1, highest, (2, 2, _LENGTH), generator=seeded(1))
    tokens[1, :, -1] = tokens[0, :, -1]
    return tokens


def _layer_kind(layer: nn.Module) -> Any:
    """Return a key that is equal for layers of the same kind: their modules, and the shapes of their parameters."""
    modules = tuple((name, type(module)) for name, module in layer.named_modules())
    return modules, tuple((name, parameter.shape) for name, parameter in layer.named_parameters())


def _find_in_layer(run: _Run, index: int, like: tuple[Branch, ...] | None) -> _LayerWriters:
    """Find the writers of one layer, trying first the branches of a layer of the same kind."""
    layer = run.captured.layers[index]
    with filled(layer.module, index):
        recorded = record_layer(layer)
        examination = examine_layer(recorded, like)
        found = list(leaves(examination.branches))
        components = find_components(recorded, run.elsewhere[index], found, complete=not examination.reasons)
        multipliers = _multipliers(layer, found)
    with filled(layer.module, len(run.elsewhere) + index):  # a learned multiplier now has a different value
        others = _multipliers(layer, found)
    writers: list[FoundWriter] = []
    for leaf, component, multiplier, other in zip(found, components, multipliers, others, strict=True):
        constant = multiplier if multiplier == other else None
        writers += _writers_of_leaf(layer.name, index, leaf, component, constant)
    return _LayerWriters(writers, examination)


def _writers_of_leaf(
    prefix: str, index: int, leaf: Leaf, component: Component, multiplier: float | None
) -> list[FoundWriter]:
    """Return each weight of a leaf as a writer, with its names in the model."""

    def in_model(name: str | None) -> str | None:
        return None if name is None else f"{prefix}.{name}"

    norms = tuple(
        norm._replace(module=f"{prefix}.{norm.module}", parameter=in_model(norm.parameter), bias=in_model(norm.bias))
        for norm in leaf.norms
    )
    return [
        FoundWriter(
            module=f"{prefix}.{leaf.branch.module}",
            parameter=f"{prefix}.{weight.parameter}",
            axis=weight.axis,
            num_matrices=weight.num_matrices,
            bias=in_model(weight.bias),
            bias_axis=weight.bias_axis,
            layer=index,
            component=component,
            multiplier=multiplier,
            norms=norms,
        )
        for weight in leaf.branch.weights
    ]


def _multipliers(layer: CalledLayer, found: Sequence[Leaf]) -> list[float | None]:
    """Measure the factor by which each leaf, through its norms, reaches the stream; None if it varies by token."""
    base, v = run_to(layer, None), probe_direction(layer)
    multipliers: list[float | None] = []
    for leaf in found:
        outermost = leaf.norms[-1].module if leaf.norms else leaf.branch.module
        m = multipliers_into(layer, outermost, None, base, v)
        constant = m is not None and float(m.max() - m.min()) < TOLERANCE
        multipliers.append(round(float(m.mean()), 8) if m is not None and constant else None)
    return multipliers
