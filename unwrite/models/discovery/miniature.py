"""A miniature: the same architecture with every layer, but narrow, with random weights in float64.

The architecture decides which modules write the residual stream, not the values of its weights, so the writers are
found on a model that fits anywhere. Only one layer at a time takes memory. Which narrow configs an architecture accepts
is found by trying.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.discovery.narrowing import divisors, narrowed
from unwrite.models.layers import decoder_body, decoder_layers
from unwrite.models.load_errors import trust_remote_code
from unwrite.models.loading import model_class

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_SMALL = 1 << 24  # parameters; a model with no more is examined at its own size
_LARGEST_LAYER = 1 << 27  # parameters, a gigabyte in float64
_LARGEST_OUTSIDE = 1 << 18  # parameters of one matrix outside the layers: more than narrow embeddings have
_POOL = 1_000_003  # random numbers; a prime, so that no two rows or experts repeat
_STEP = 7919
_BUILD_ERRORS = (
    *(ValueError, KeyError, AttributeError, TypeError, AssertionError, RuntimeError, IndexError, ImportError),
    ArithmeticError,
)


class _Narrowing(NamedTuple):
    """A way to narrow a config, and how many parameters its largest layer then has."""

    largest_layer: int
    divisor: int
    fewer_heads: bool


def miniatures(config: PreTrainedConfig) -> Iterator[PreTrainedModel]:
    """Yield miniatures of a config's model, the narrowest first: use the first that runs.

    They are in evaluation mode. Only modules outside the layers have values; `filled` gives values to a layer, and
    `filled_while_run` to each layer while it runs. Where the model is small, the only miniature is the model itself.

    Raises:
        UnwriteError: transformers has no causal language model for the config, or no narrow model has the same modules
            and layers that fit in memory.
    """
    full = build_on_meta(config)
    if sum(parameter.numel() for parameter in full.parameters()) <= _SMALL:
        yield _build(config)
        return
    for narrowing in _narrowings(config, full):
        yield _build(narrowed(config, narrowing.divisor, fewer_heads=narrowing.fewer_heads))


def _narrowings(config: PreTrainedConfig, full: PreTrainedModel) -> Iterator[_Narrowing]:
    """Yield the ways to narrow a config that keep the model's modules and fit in memory, the narrowest first.

    Of two that are as narrow, the one with the smaller layers comes first.
    """
    sizes: list[int] = []
    for divisor in sorted(divisors(config), reverse=True):
        possible: list[_Narrowing] = []
        for fewer_heads in (False, True):
            try:
                narrow = build_on_meta(narrowed(config, divisor, fewer_heads=fewer_heads))
            except UnwriteError:
                continue  # these widths violate a rule of the architecture
            if _modules(narrow) == _modules(full):
                largest = max(sum(p.numel() for p in layer.parameters()) for layer in decoder_layers(narrow))
                possible.append(_Narrowing(largest, divisor, fewer_heads))
        sizes += [narrowing.largest_layer for narrowing in possible]
        yield from (narrowing for narrowing in sorted(possible) if narrowing.largest_layer <= _LARGEST_LAYER)
    if not sizes or min(sizes) > _LARGEST_LAYER:
        why = f"its layers still have up to {min(sizes):,} parameters" if sizes else "its modules change"
        raise UnwriteError(f"{type(full).__name__} cannot be examined: however narrow it is made, {why}.")


def build_on_meta(config: PreTrainedConfig) -> PreTrainedModel:
    """Build the config's model with every name and shape, but without values.

    Raises:
        UnwriteError: transformers has no causal language model for the config.
    """
    if config.is_encoder_decoder or getattr(config, "decoder", None) is not None:
        raise UnwriteError(
            f"A model of type {config.model_type!r} has an encoder and a decoder. Use a decoder-only model."
        )
    with torch.device("meta"):
        return _from_config(config)


def _build(config: PreTrainedConfig) -> PreTrainedModel:
    from transformers.initialization import no_init_weights

    with no_init_weights():  # memory that is not written to costs nothing
        model = _from_config(config, dtype=torch.float64)
    model.tie_weights()
    model.eval().requires_grad_(False)
    layers = decoder_layers(model)
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    around = (decoder_body(model), model.get_input_embeddings(), model.get_output_embeddings())
    outside = [parameter for module in around if module is not None for parameter in module.parameters()]
    _fill_outside([parameter for parameter in outside if id(parameter) not in inside], seed=0)
    return model


def _from_config(config: PreTrainedConfig, **arguments: Any) -> PreTrainedModel:
    from huggingface_hub.errors import StrictDataclassError
    from transformers.utils import logging

    logging.set_verbosity_error()  # its advice on speed and sampling does not concern a miniature
    try:
        model: PreTrainedModel = model_class(config).from_config(
            copy.deepcopy(config),  # from_config changes it
            attn_implementation="eager",
            experts_implementation="eager",
            trust_remote_code=trust_remote_code(),
            **arguments,
        )
    except (*_BUILD_ERRORS, StrictDataclassError) as error:
        raise UnwriteError(
            f"transformers cannot build a causal language model of type {config.model_type!r} ({reason_of(error)}). "
            "Use a decoder-only model."
        ) from error
    return model


@contextmanager
def filled(layer: nn.Module, seed: int) -> Iterator[None]:
    """Give a layer values while open: random, the same for the same seed, and large enough for every part to matter."""
    _fill(_learned(layer), seed + 1)
    try:
        yield
    finally:
        _release(_learned(layer))


@contextmanager
def filled_while_run(model: nn.Module, *, from_pool: bool = False) -> Iterator[None]:
    """Give each layer values whenever it runs while open, and free their memory afterwards.

    The values are those that `filled` gives for the layer's number. Modules outside the layers get different ones.

    Args:
        model: a miniature.
        from_pool: whether to take the values of layers from one pool of random numbers instead, which is faster.
    """
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0), dtype=torch.float64) if from_pool else None
    layers = decoder_layers(model)
    inside = {module for layer in layers for module in layer.modules()}
    outside = [module for module in model.modules() if module not in inside]
    with ExitStack() as hooks:
        for index, layer in enumerate(layers):
            hooks.enter_context(layer.register_forward_pre_hook(_filling(_learned(layer), index + 1, pool)))
            hooks.enter_context(layer.register_forward_hook(_releasing(_learned(layer))))
        for index, module in enumerate(outside):
            own = list(module.parameters(recurse=False))
            hooks.enter_context(module.register_forward_pre_hook(_filling_outside(own, -index - 1)))
        yield


def _filling(tensors: Sequence[Tensor], seed: int, pool: Tensor | None) -> Callable[..., None]:
    if pool is None:
        return lambda *_: _fill(tensors, seed)
    return lambda *_: _fill_from_pool(tensors, pool, seed)


def _filling_outside(tensors: Sequence[Tensor], seed: int) -> Callable[..., None]:
    return lambda *_: _fill_outside(tensors, seed)


def _releasing(tensors: Sequence[Tensor]) -> Callable[..., None]:
    return lambda *_: _release(tensors)


def _learned(layer: nn.Module) -> list[Tensor]:
    """List a layer's parameters, and the floating-point buffers that it is saved with."""
    saved = layer.state_dict(keep_vars=True)
    return [*layer.parameters(), *(b for name, b in layer.named_buffers() if name in saved and b.is_floating_point())]


def _fill(tensors: Sequence[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        tensor.data = _scaled(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))


def _fill_from_pool(tensors: Sequence[Tensor], pool: Tensor, seed: int) -> None:
    """Fill tensors with what follows in the pool, from the beginning again after its end."""
    start = seed * _STEP % len(pool)
    for tensor in tensors:
        end = start + tensor.numel()
        rounds = -(-end // len(pool))
        noise = pool[start:end].clone() if rounds <= 1 else pool.repeat(rounds)[start:end]
        tensor.data = _scaled(noise.reshape(tensor.shape))
        start = end % len(pool)


def _scaled(noise: Tensor) -> Tensor:
    """Scale noise in place: matrices keep the size of their input; vectors are scales (or biases) around one."""
    return noise.div_(noise.shape[-1] ** 0.5) if noise.dim() > 1 else noise.mul_(0.3).add_(1)


def _fill_outside(tensors: Sequence[Tensor], seed: int) -> None:
    """Fill parameters outside the layers; those of encoders, which a miniature has at full size, take no memory."""
    _fill([tensor for tensor in tensors if not _is_large(tensor)], seed)
    for index, tensor in enumerate(filter(_is_large, tensors)):
        noise = torch.randn(sum(tensor.shape), generator=torch.Generator().manual_seed(seed + index)).double()
        # Values that depend on the sum of the indices alone (a Hankel matrix): of full rank, from a single vector.
        tensor.data = noise.div_(tensor.shape[-1] ** 0.5).as_strided(tensor.shape, [1] * tensor.dim())


def _is_large(tensor: Tensor) -> bool:
    return tensor.dim() > 1 and tensor.numel() > _LARGEST_OUTSIDE


def _release(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        tensor.data = torch.empty((), dtype=torch.float64).expand(tensor.shape)  # the shape, without the memory


def _modules(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]
