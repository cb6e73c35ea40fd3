"""A miniature: the same architecture, every layer of it, with narrow random weights in float64, a layer at a time.

Which modules write the residual stream is decided by the architecture, not by the values, so it is found on a model
that fits anywhere. Widths are divided by one power of two, so that what the architecture asks of them (heads times head
size is the hidden size …) still holds; numbers of things (layers, heads, experts) stay.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.layers import decoder_layers
from unwrite.models.loading import model_class, trust_remote_code

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY = 128
_SMALL = 1 << 24  # parameters; a model of no more is examined at its own size
_LARGEST_LAYER = 1 << 27  # parameters, a gigabyte in float64
_LEAST_WIDTH = 48  # of the stream: random vectors of it are never parallel by accident
_LEAST = 16  # what is smaller is no width
# Endings of configuration keys that count things, point at them or name tokens: not widths, whatever their size.
_COUNTS = re.compile(
    r"(^|_)(num_\w+|n_(?!embd|inner|positions)\w+|\w*heads|experts?|layers?|groups?|tok|tokens?|top_?k|kernel(_size)?|window"
    r"|\w*ids?|index|indices|period|step|interval|frequency|pattern|seed|factor)$"
)
_ROPE_TABLES = ("long_factor", "short_factor")
_BUILD_ERRORS = (ValueError, KeyError, AttributeError, TypeError, AssertionError, RuntimeError, IndexError, ImportError)


def miniatures(config: PreTrainedConfig) -> Iterator[PreTrainedModel]:
    """Miniatures of a config's model, the smallest first: the first that runs will do.

    They are in evaluation mode. Only what is outside the layers has values; `filled` gives them to a layer, and
    `filled_while_run` to each layer while it runs. Where the model is small, there is one: the model itself.

    Raises:
        UnwriteError: transformers has no causal language model for the config, or no narrow one has the same modules
            and layers that fit in memory.
    """
    full = build_on_meta(config)
    if sum(parameter.numel() for parameter in full.parameters()) <= _SMALL:
        yield _build(config)
        return
    sizes: dict[int, int] = {}
    for divisor in _divisors(config.get_text_config().hidden_size):
        try:
            narrow = build_on_meta(_narrowed(config, divisor))
        except UnwriteError:
            continue  # what the architecture asks of its widths doesn't survive this one
        if _modules(narrow) == _modules(full):
            sizes[divisor] = max(sum(p.numel() for p in layer.parameters()) for layer in decoder_layers(narrow))
    if not sizes or min(sizes.values()) > _LARGEST_LAYER:
        least = f"its layers still have up to {min(sizes.values()):,} parameters" if sizes else "its modules change"
        raise UnwriteError(f"{type(full).__name__} can't be examined: however narrow it is made, {least}.")
    for divisor in sorted(sizes, key=lambda divisor: sizes[divisor]):
        if sizes[divisor] <= _LARGEST_LAYER:
            yield _build(_narrowed(config, divisor))


def build_on_meta(config: PreTrainedConfig) -> PreTrainedModel:
    """The config's model with every name and shape and no values.

    Raises:
        UnwriteError: transformers has no causal language model for the config.
    """
    if config.is_encoder_decoder or getattr(config, "decoder", None) is not None:
        raise UnwriteError(
            f"A model of type {config.model_type!r} has an encoder and a decoder; nothing is edited in part. "
            "Expected a decoder-only model."
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
    around = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    outside = [parameter for module in around if module is not None for parameter in module.parameters()]
    _fill([parameter for parameter in outside if id(parameter) not in inside], seed=0)
    return model


def _from_config(config: PreTrainedConfig, **arguments: Any) -> PreTrainedModel:
    from huggingface_hub.errors import StrictDataclassError

    try:
        model: PreTrainedModel = model_class(config).from_config(
            copy.deepcopy(config),  # it is changed
            attn_implementation="eager",
            experts_implementation="eager",
            trust_remote_code=trust_remote_code(),
            **arguments,
        )
    except (*_BUILD_ERRORS, StrictDataclassError) as error:
        raise UnwriteError(
            f"transformers can't build a causal language model of type {config.model_type!r} ({reason_of(error)}). "
            "Expected a decoder-only model."
        ) from error
    return model


@contextmanager
def filled(layer: nn.Module, index: int) -> Iterator[None]:
    """While open, the layer has values: random, the same each time, of a size that lets every part matter."""
    parameters = list(layer.parameters())
    _fill(parameters, seed=index + 1)
    try:
        yield
    finally:
        _release(parameters)


@contextmanager
def filled_while_run(model: nn.Module) -> Iterator[None]:
    """While open, each layer has values whenever it runs, and gives their memory back afterwards."""
    with ExitStack() as hooks:
        for index, layer in enumerate(decoder_layers(model)):
            parameters = list(layer.parameters())

            def fill(*_: Any, parameters: list[nn.Parameter] = parameters, seed: int = index + 1) -> None:
                _fill(parameters, seed)

            def release(*_: Any, parameters: list[nn.Parameter] = parameters) -> None:
                _release(parameters)

            hooks.enter_context(layer.register_forward_pre_hook(fill))
            hooks.enter_context(layer.register_forward_hook(release))
        yield


def _fill(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        # Matrices keep the size of what passes through; vectors are scales (or biases) around one.
        parameter.data = noise.div_(parameter.shape[-1] ** 0.5) if parameter.dim() > 1 else noise.mul_(0.3).add_(1)


def _release(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.data = torch.empty(parameter.shape, dtype=torch.float64)


def _divisors(width: int) -> list[int]:
    powers = [1 << power for power in range(12)]
    return [power for power in reversed(powers) if width % power == 0 and width // power >= min(_LEAST_WIDTH, width)]


def _narrowed(config: PreTrainedConfig, divisor: int) -> PreTrainedConfig:
    """The config with its text widths divided, a small vocabulary, and no token that is outside it."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    for key, value in list(vars(text).items()):
        if key.startswith("_") or isinstance(value, type(small)):
            continue
        if "vocab_size" in key:
            setattr(text, key, VOCABULARY)
        elif key in {"pad_token_id", "bos_token_id", "eos_token_id"}:
            setattr(text, key, None if value is None else 0)
        elif not _COUNTS.search(key):
            setattr(text, key, _divided(value, divisor))
    return small


def _divided(value: Any, divisor: int) -> Any:
    if isinstance(value, dict):
        if any(table in value for table in _ROPE_TABLES):
            # As long as the real head is wide; how positions are encoded is not what writes.
            value = {key: entry for key, entry in value.items() if key not in _ROPE_TABLES} | {"rope_type": "default"}
        return {key: entry if _COUNTS.search(str(key)) else _divided(entry, divisor) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        # A list that is shared out over a width (the sections of a rotary embedding) may have small numbers.
        whole = all(type(entry) is int and entry % divisor == 0 for entry in value)
        return type(value)(entry // divisor for entry in value) if whole else value
    if type(value) is int and value >= _LEAST and value % divisor == 0:
        return value // divisor
    return value


def _modules(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]
