"""A miniature: the same architecture, every layer of it, with narrow random weights in float64, a layer at a time.

Which modules write the residual stream is decided by the architecture, not by the values, so it is found on a model
that fits anywhere. Widths are divided by one power of two, so that what the architecture asks of them (heads times head
size is the hidden size …) still holds, and numbers of things (layers, heads, experts) stay; or heads are fewer and as
wide as they were. Which of these an architecture stands is tried.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.layers import around_layers, decoder_layers
from unwrite.models.loading import model_class, trust_remote_code

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

VOCABULARY = 128
_SMALL = 1 << 24  # parameters; a model of no more is examined at its own size
_LARGEST_LAYER = 1 << 27  # parameters, a gigabyte in float64
_LEAST_WIDTH = 48  # of the stream: random vectors of it are never parallel by accident
_MOST_WIDTH = 1024  # a wider miniature would take minutes
_LEAST = 16  # what is smaller is no width
_LEAST_POSITIONS = 64  # more than any prompt that is run
# Endings of configuration keys that count things, point at them or name tokens: not widths, whatever their size.
_COUNTS = re.compile(
    r"(^|_)(num_\w+|n_(?!embd|inner|positions)\w+|\w*heads|experts?|layers?|groups?|tok|tokens?|top_?k|kernel(_size)?|window"
    r"|\w*ids?|index|indices|period|step|interval|frequency|pattern|seed|factor)$"
)
_HEADS = re.compile(r"(^|_)(\w*heads|n_head)$")
_HEAD_SIZES = re.compile(r"head_dim|d_head|head_size|rope|rotary|section")
_NOT_TEXT = re.compile(r"vision|image|video|audio|speech")
_ROPE_TABLES = ("long_factor", "short_factor")
_BUILD_ERRORS = (
    *(ValueError, KeyError, AttributeError, TypeError, AssertionError, RuntimeError, IndexError, ImportError),
    ArithmeticError,
)


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
    sizes: dict[tuple[int, bool], int] = {}
    for divisor in _divisors(_width(config)):
        for fewer_heads in (False, True):
            try:
                narrow = build_on_meta(_narrowed(config, divisor, fewer_heads=fewer_heads))
            except UnwriteError:
                continue  # what the architecture asks of its widths doesn't survive this one
            if _modules(narrow) == _modules(full):
                largest = max(sum(p.numel() for p in layer.parameters()) for layer in decoder_layers(narrow))
                sizes[divisor, fewer_heads] = largest
    if not sizes or min(sizes.values()) > _LARGEST_LAYER:
        least = f"its layers still have up to {min(sizes.values()):,} parameters" if sizes else "its modules change"
        raise UnwriteError(f"{type(full).__name__} can't be examined: however narrow it is made, {least}.")
    for (divisor, fewer_heads), size in sorted(sizes.items(), key=lambda item: item[1]):
        if size <= _LARGEST_LAYER:
            yield _build(_narrowed(config, divisor, fewer_heads=fewer_heads))


def _width(config: PreTrainedConfig) -> int:
    width = getattr(config.get_text_config(), "hidden_size", None)
    if type(width) is not int:
        raise UnwriteError(
            f"A config of type {config.model_type!r} names no hidden_size. Expected a decoder-only model."
        )
    return width


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
    around = (around_layers(model), model.get_input_embeddings(), model.get_output_embeddings())
    outside = [parameter for module in around if module is not None for parameter in module.parameters()]
    _fill([parameter for parameter in outside if id(parameter) not in inside], seed=0)
    return model


def _from_config(config: PreTrainedConfig, **arguments: Any) -> PreTrainedModel:
    from huggingface_hub.errors import StrictDataclassError
    from transformers.utils import logging

    logging.set_verbosity_error()  # what it says of a model's speed or of its sampling is not of this one
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
def filled(layer: nn.Module, seed: int) -> Iterator[None]:
    """While open, the layer has values: random, the same for the same seed, of a size that lets every part matter."""
    _fill(_learned(layer), seed + 1)
    try:
        yield
    finally:
        _release(_learned(layer))


@contextmanager
def filled_while_run(model: nn.Module) -> Iterator[None]:
    """While open, each layer has values whenever it runs (`filled` with its number), and gives their memory back.

    What runs outside of the layers has values of its own.
    """
    layers = decoder_layers(model)
    inside = {module for layer in layers for module in layer.modules()}
    outside = [module for module in model.modules() if module not in inside]
    with ExitStack() as hooks:
        for index, layer in enumerate(layers):
            hooks.enter_context(layer.register_forward_pre_hook(_filling(_learned(layer), index + 1)))
            hooks.enter_context(layer.register_forward_hook(_releasing(_learned(layer))))
        for index, module in enumerate(outside):
            own = list(module.parameters(recurse=False))
            hooks.enter_context(module.register_forward_pre_hook(_filling(own, -index - 1)))
        yield


def _filling(tensors: Sequence[Tensor], seed: int) -> Callable[..., None]:
    return lambda *_: _fill(tensors, seed)


def _releasing(tensors: Sequence[Tensor]) -> Callable[..., None]:
    return lambda *_: _release(tensors)


def _learned(layer: nn.Module) -> list[Tensor]:
    """What a checkpoint holds of a layer: its parameters, and buffers of numbers that it is saved with."""
    saved = layer.state_dict(keep_vars=True)
    return [*layer.parameters(), *(b for name, b in layer.named_buffers() if name in saved and b.is_floating_point())]


def _fill(tensors: Sequence[Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        # Matrices keep the size of what passes through; vectors are scales (or biases) around one.
        tensor.data = noise.div_(tensor.shape[-1] ** 0.5) if tensor.dim() > 1 else noise.mul_(0.3).add_(1)


def _release(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        tensor.data = torch.empty((), dtype=torch.float64).expand(tensor.shape)  # the shape without the memory


def _divisors(width: int) -> list[int]:
    powers = [1 << power for power in range(12)]
    return [power for power in powers if width % power == 0 and _LEAST_WIDTH <= width // power <= _MOST_WIDTH] or [1]


def _narrowed(config: PreTrainedConfig, divisor: int, *, fewer_heads: bool) -> PreTrainedConfig:
    """The config with its text widths divided, a small vocabulary, and no token that is outside it.

    With `fewer_heads`, it is the heads that are fewer, and as wide as they were.
    """
    small = copy.deepcopy(config)
    _narrow(small.get_text_config(), divisor, fewer_heads=fewer_heads)
    return small


def _narrow(config: PreTrainedConfig, divisor: int, *, fewer_heads: bool) -> None:
    from transformers import PreTrainedConfig

    for key, value in list(vars(config).items()):
        if key.startswith("_") or _NOT_TEXT.search(key):
            continue
        if isinstance(value, PreTrainedConfig):
            _narrow(value, divisor, fewer_heads=fewer_heads)
        elif "vocab_size" in key and type(value) is int:
            setattr(config, key, min(value, VOCABULARY))
        elif key in {"pad_token_id", "bos_token_id", "eos_token_id"}:
            setattr(config, key, None if value is None else 0)
        elif "position" in key and type(value) is int:
            setattr(config, key, max(min(value, _LEAST_POSITIONS), value // divisor))
        else:
            setattr(config, key, _divided(key, value, divisor, fewer_heads=fewer_heads))


def _divided(key: str, value: Any, divisor: int, *, fewer_heads: bool) -> Any:
    if isinstance(value, dict):
        if any(table in value for table in _ROPE_TABLES):
            # As long as the real head is wide; how positions are encoded is not what writes.
            value = {name: entry for name, entry in value.items() if name not in _ROPE_TABLES}
            value["rope_type"] = "default"
        return {name: _divided(str(name), entry, divisor, fewer_heads=fewer_heads) for name, entry in value.items()}
    if fewer_heads and _HEADS.search(key) and type(value) is int:
        return max(1, value // divisor)
    if _COUNTS.search(key) or (fewer_heads and _HEAD_SIZES.search(key)):
        return value
    if isinstance(value, (list, tuple)):
        return _divided_list(key, value, divisor)
    if type(value) is int and value >= _LEAST and value % divisor == 0:
        return value // divisor
    return value


def _divided_list(key: str, values: Sequence[Any], divisor: int) -> Sequence[Any]:
    if key.endswith("_section"):  # of a rotary embedding: a head is shared out among them, so their sum is divided
        edges = [0, *(round(edge / divisor) for edge in accumulate(values))]
        return [end - start for start, end in pairwise(edges)]
    whole = all(type(entry) is int and entry % divisor == 0 for entry in values)
    return type(values)(entry // divisor for entry in values) if whole else values  # type: ignore[call-arg]


def _modules(model: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in model.named_modules()]
