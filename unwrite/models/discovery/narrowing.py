"""Make a narrow copy of a model's config: widths are divided by one power of two, counts are kept.

What an architecture requires of its widths (heads times head size is the hidden size, and so on) still holds after all
of them are divided. Alternatively, there are fewer heads, as wide as before.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from unwrite.errors import UnwriteError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

VOCABULARY = 128
_LEAST_WIDTH = 48  # of the stream: random vectors this wide are never parallel by accident
_MOST_WIDTH = 1024  # a wider miniature would take minutes
_LEAST = 16  # smaller numbers are not widths
_LEAST_POSITIONS = 64  # longer than any prompt that is run
# Endings of configuration keys that hold counts, indices or token ids: not widths, whatever their size.
_COUNTS = re.compile(
    r"(^|_)(num_\w+|n_(?!embd|inner|positions)\w+|\w*heads|experts?|layers?|groups?|tok|tokens?|top_?k|kernel(_size)?|window"
    r"|\w*ids?|index|indices|period|step|interval|frequency|pattern|seed|factor)$"
)
_HEADS = re.compile(r"(^|_)(\w*heads|n_head)$")
_HEAD_SIZES = re.compile(r"head_dim|d_head|head_size|rope|rotary|section")
_NOT_TEXT = re.compile(r"vision|image|video|audio|speech")
_ROPE_TABLES = ("long_factor", "short_factor")


def divisors(config: PreTrainedConfig) -> list[int]:
    """List the powers of two that divide the stream's width into one suitable for a miniature; 1 if none does.

    Raises:
        UnwriteError: the config has no hidden_size.
    """
    width = getattr(config.get_text_config(), "hidden_size", None)
    if type(width) is not int:
        raise UnwriteError(f"A config of type {config.model_type!r} must have a hidden_size. Use a decoder-only model.")
    powers = [1 << power for power in range(12)]
    return [power for power in powers if width % power == 0 and _LEAST_WIDTH <= width // power <= _MOST_WIDTH] or [1]


def narrowed(config: PreTrainedConfig, divisor: int, *, fewer_heads: bool) -> PreTrainedConfig:
    """Return a copy with the text widths divided, a small vocabulary, and no token id outside it.

    Args:
        config: the config of the full model.
        divisor: a power of two.
        fewer_heads: whether to divide the number of heads instead of their size.
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
        entries = _without_rope_tables(value)
        return {name: _divided(str(name), entry, divisor, fewer_heads=fewer_heads) for name, entry in entries.items()}
    if fewer_heads and _HEADS.search(key) and type(value) is int:
        return max(1, value // divisor)
    if _COUNTS.search(key) or (fewer_heads and _HEAD_SIZES.search(key)):
        return value
    if isinstance(value, (list, tuple)):
        return _divided_list(key, value, divisor)
    if type(value) is int and value >= _LEAST and value % divisor == 0:
        return value // divisor
    return value


def _without_rope_tables(entries: dict[Any, Any]) -> dict[Any, Any]:
    """Replace a table as long as the real head is wide: how positions are encoded does not decide what writes."""
    if not any(table in entries for table in _ROPE_TABLES):
        return entries
    return {name: entry for name, entry in entries.items() if name not in _ROPE_TABLES} | {"rope_type": "default"}


def _divided_list(key: str, values: Sequence[Any], divisor: int) -> Sequence[Any]:
    if key.endswith("_section"):  # the sections of a rotary embedding make up one head, so their sum is divided
        edges = [0, *(round(edge / divisor) for edge in accumulate(values))]
        return [end - start for start, end in pairwise(edges)]
    whole = all(type(entry) is int and entry % divisor == 0 for entry in values)
    return type(values)(entry // divisor for entry in values) if whole else values  # type: ignore[call-arg]
