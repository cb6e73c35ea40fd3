"""A recipe on the weights of a model in memory: exactly, as a release holds them, or fast, for a trial.

The fast path computes from products, in the model's dtype or float32. It equals the exact one up to float32 rounding,
which in bfloat16 moves about one number in a hundred thousand to its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unwrite.core.layout import as_matrices
from unwrite.editing.edit_cache import EditCache, factors_of_trials
from unwrite.editing.exact import edited_parameters, parameter_names, values_of_biases
from unwrite.errors import UnwriteError
from unwrite.models.patching import patched_parameters
from unwrite.models.placement import parameters_of
from unwrite.schema.artifacts import Edit, Recipe


@contextmanager
def edited(model: nn.Module, recipe: Recipe, directions: Mapping[str, Tensor]) -> Iterator[None]:
    """Edit a model's parameters exactly; when the context closes, they are the original tensors again.

    In the dtype of the checkpoint, the values are those that the merged checkpoint stores, bit for bit.

    Args:
        model: the model that the recipe is for; its weights must not be quantized.
        recipe: from a search, or from `recipe.make_recipe`.
        directions: the tensors of directions.safetensors, `directions` and `baseline_mean`, each [P, L+1, d].

    Raises:
        UnwriteError: a weight is quantized, or the model lacks a parameter or has it in another layout than the recipe
            states.

    Example:
        >>> model = load_model("demo/model")
        >>> kernel = Kernel(max_weight=1.0, max_weight_position=3.0, min_weight=1.0, min_weight_distance=6.0)
        >>> recipe = make_recipe(
        ...     TrialParameters(
        ...         direction_scope="per_layer", direction_index=0.0, position=0, attention=kernel, mlp=kernel
        ...     ),
        ...     pin_base("demo/model").writers,
        ...     EditSettings(
        ...         norm_preservation="none",
        ...         edit_bias=True,
        ...         post_norm="compensate",
        ...         orthogonalize="none",
        ...         spans=[],
        ...     ),
        ... )
        >>> directions = compute_directions(torch.randn(8, 1, 7, 128) + 1, torch.randn(8, 1, 7, 128))
        >>> before = model(torch.tensor([[5, 6, 7]])).logits
        >>> with edited(model, recipe, directions):
        ...     inside = model(torch.tensor([[5, 6, 7]])).logits
        >>> torch.equal(inside, before), torch.equal(model(torch.tensor([[5, 6, 7]])).logits, before)
        (False, True)
    """
    names = parameter_names(recipe.edits)
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name in names:
        if name not in known:
            raise UnwriteError(
                f"The recipe names {name}, which the model does not have. Use the model that the recipe was made for."
            )
    originals = parameters_of(model, names)
    for edit in recipe.edits:
        _check_not_quantized(edit.matrix.parameter, originals)
    values = edited_parameters(
        recipe.edits,
        originals,
        recipe.settings.norm_preservation,
        directions["directions"],
        directions["baseline_mean"],
    )
    with patched_parameters(model, values):
        yield


def edited_weights(edits: Sequence[Edit], cache: EditCache) -> dict[str, Tensor]:
    """Compute the edited value of every weight and bias that a recipe names, from products; experts exactly.

    Args:
        edits: the edits of the recipe.
        cache: products with stored vectors, and the value of each parameter of `parameter_names`.

    Returns:
        The edited values by name, in the shape and dtype and on the device of the originals.

    Raises:
        UnwriteError: a weight is quantized, or as in `edited_parameters`.
    """
    values: dict[str, Tensor] = {}
    for edit in edits:
        _check_not_quantized(edit.matrix.parameter, cache.parameters)
        if edit.matrix.num_matrices > 1:  # there are no products of experts
            values |= edited_parameters(
                [edit], cache.parameters, cache.norm_preservation, cache.directions, cache.baseline_means
            )
            continue
        values[edit.matrix.parameter] = _edited_weight(edit, cache)
        values |= values_of_biases(edit, cache.parameters, cache.directions, cache.baseline_means)
    return values


def _edited_weight(edit: Edit, cache: EditCache) -> Tensor:
    """Compute diag(r) (W − a s) diag(c) in the weight's dtype or float32, and round it to the weight's dtype."""
    weight = cache.parameters[edit.matrix.parameter]
    edited_weight = torch.empty_like(weight)
    matrix, target = (as_matrices(tensor, edit.matrix.axis, 1)[0] for tensor in (weight, edited_weight))
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    r, a, _, c, s = (values[0].to(wide) for values in factors_of_trials(cache, [edit]))
    edited_rows = torch.addr(wide, a, s, alpha=-1)
    if cache.norm_preservation == "rows":
        edited_rows *= r.unsqueeze(1)
    elif cache.norm_preservation == "columns":
        edited_rows *= c
    target.copy_(edited_rows)
    return edited_weight


def _check_not_quantized(parameter: str, parameters: Mapping[str, Tensor]) -> None:
    if not parameters[parameter].is_floating_point():
        raise UnwriteError(f"{parameter} is quantized in memory, so it cannot be edited there.")
