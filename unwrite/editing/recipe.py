"""From the parameters of a trial to a recipe: every writer to edit, with its strength and direction."""

from __future__ import annotations

from collections.abc import Sequence

from unwrite.core.kernel import kernel_weight
from unwrite.core.layer_directions import residual_index, span_source
from unwrite.schema.artifacts import (
    DirectionRef,
    Edit,
    EditSettings,
    Kernel,
    Norm,
    Recipe,
    SelectedTrial,
    TrialParameters,
    Writer,
)
from unwrite.schema.params import Optimize
from unwrite.terms import LayerSpan, Orthogonalize, Scope

Spans = Sequence[LayerSpan]


def edit_settings(optimize: Optimize, orthogonalize: Orthogonalize) -> EditSettings:
    """Return the settings that all trials of a search share.

    Args:
        optimize: the section `optimize` of params.yaml.
        orthogonalize: how the stored directions were orthogonalized.
    """
    return EditSettings(
        norm_preservation=optimize.norm_preservation,
        edit_bias=optimize.edit_bias,
        post_norm=optimize.post_norm,
        orthogonalize=orthogonalize,
        spans=list(optimize.space.spans),
    )


def make_recipe(
    parameters: TrialParameters,
    writers: Sequence[Writer],
    settings: EditSettings,
    *,
    selection: str = "chosen by hand",
    trial: SelectedTrial | None = None,
) -> Recipe:
    """Return the complete recipe of a trial, or of parameters that come from no search.

    Args:
        parameters: those that a trial samples: scope, index and position of the direction, and a kernel per component.
        writers: every writer of the model, as artifacts/base.json lists them.
        settings: settings that all trials share.
        selection: why these parameters were chosen, for the release to state.
        trial: the measurements of the trial, if there was one.

    Example:
        >>> kernel = Kernel(max_weight=1.0, max_weight_position=3.0, min_weight=0.5, min_weight_distance=2.0)
        >>> recipe = make_recipe(
        ...     TrialParameters(
        ...         direction_scope="global", direction_index=4.0, position=0, attention=kernel, mlp=kernel
        ...     ),
        ...     pin_base("demo/model").writers,
        ...     EditSettings(
        ...         norm_preservation="rows",
        ...         edit_bias=True,
        ...         post_norm="compensate",
        ...         orthogonalize="none",
        ...         spans=[],
        ...     ),
        ... )
        >>> [(edit.layer, edit.component, edit.strength) for edit in recipe.edits[:2]]
        [(1, 'attention', 0.5), (1, 'mlp', 0.5)]
    """
    return Recipe(
        trial=trial,
        selection=selection,
        parameters=parameters,
        settings=settings,
        edits=build_edits(parameters, writers, settings),
    )


def build_edits(parameters: TrialParameters, writers: Sequence[Writer], settings: EditSettings) -> list[Edit]:
    """Return the edits of one trial, in the order of the writers.

    A writer is left alone if its kernel weight is 0, or if the scope is `spans` and no span covers its layer.

    Args:
        parameters: the parameters of the trial.
        writers: every writer of the model.
        settings: settings that all trials share.

    Raises:
        ValueError: a kernel has a negative width, or two spans contain the same layer.
    """
    edits = (_build_edit(parameters, writer, settings) for writer in writers)
    return [edit for edit in edits if edit is not None]


def _build_edit(parameters: TrialParameters, writer: Writer, settings: EditSettings) -> Edit | None:
    kernel: Kernel = getattr(parameters, writer.component)
    strength = kernel_weight(writer.layer, **kernel.model_dump())
    direction = layer_direction(parameters, settings, writer.layer)
    if strength == 0 or direction is None:
        return None
    return Edit(
        layer=writer.layer,
        component=writer.component,
        matrix=writer.matrix,
        bias=writer.bias if settings.edit_bias else None,
        norms=applied_norms(writer, settings),
        strength=strength,
        direction=direction,
    )


def layer_direction(parameters: TrialParameters, settings: EditSettings, layer: int) -> DirectionRef | None:
    """Return the direction that the writers of a layer are edited with; None for a layer that no span covers.

    Args:
        parameters: the parameters of the trial.
        settings: settings that all trials share.
        layer: the layer of the writers, counted from 0.

    Raises:
        ValueError: two spans contain the layer.
    """
    source = source_index(parameters.direction_scope, parameters.direction_index, layer, settings.spans)
    if source is None:
        return None
    applied = residual_index(layer)
    again = settings.orthogonalize == "biprojected" and source != applied
    return DirectionRef(position=parameters.position, index=source, orthogonalize_to=applied if again else None)


def applied_norms(writer: Writer, settings: EditSettings) -> list[Norm]:
    """Return the norms that the edit of a writer compensates for: none if `post_norm` is `ignore`.

    They have their biases only if biases are edited.
    """
    norms = writer.norms if settings.post_norm == "compensate" else []
    return norms if settings.edit_bias else [norm.model_copy(update={"bias": None}) for norm in norms]


def source_index(scope: Scope, direction_index: float, layer: int, spans: Spans) -> float | None:
    """Return the residual index of the direction that the writers of a layer are edited with.

    Args:
        scope: `global` uses the trial's index for every layer, `per_layer` the output of the layer itself, `spans` the
            output of the source layer of the span (Lai 2025).
        direction_index: the residual index that the trial sampled.
        layer: the layer of the writers, counted from 0.
        spans: (source layer, first layer, last layer) of each span.

    Returns:
        The index, or None for a layer that no span covers.
    """
    if scope == "global":
        return direction_index
    source = layer if scope == "per_layer" else span_source(spans, layer)
    return None if source is None else float(residual_index(source))
