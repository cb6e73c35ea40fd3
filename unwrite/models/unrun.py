"""Name what a checkpoint stores as layers and its model does not run, such as layers that predict tokens further ahead.

transformers leaves these tensors aside, so they cannot be examined, and an edit leaves them as they are. Another engine
may run them (speculative decoding with MTP or `nextn` layers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from unwrite.models.conversion import unloaded_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def unrun_modules(config: PreTrainedConfig, stored: Mapping[str, Sequence[int]]) -> list[str]:
    """List the modules, as the checkpoint names them, whose matrices are as wide as the stream and are not loaded.

    A list item stands for everything in it: `model.layers.61`, `mtp.layers.0`, `mtp.fc`.

    Args:
        config: the configuration of the model.
        stored: a tensor's name in the checkpoint → its shape.
    """
    width = config.get_text_config().hidden_size
    wide = [name for name in unloaded_tensors(config, stored) if len(stored[name]) > 1 and width in stored[name]]
    return list(dict.fromkeys(map(_module, wide)))


def _module(tensor: str) -> str:
    """Return the first list item in a tensor's name, or else the name without its last part."""
    parts = tensor.split(".")
    numbers = [position for position, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1] if numbers else parts[:-1])
