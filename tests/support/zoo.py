"""A tiny model of every architecture in transformers that generates text and needs no encoder.

The configs are data, in `tests/data/zoo`: `text.json` holds the language models, `image_text.json` the models that also
read images and run on text alone, `left_out.json` the model types that are left out, each with its reason. An entry
gives the model type and what differs from `COMMON` (from `COMMON` in its text config, where it has one).

Tests name about half of the entries, those that have something of their own. All of them are run by
`make architectures` only: run it after each change of transformers' version, and of unwrite/models/discovery.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tests.support.tiny import COMMON, randomised, tiny_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_DATA = Path(__file__).parents[1] / "data" / "zoo"
_BARE = {"blt", "xlnet"}  # model types whose configs have no name of COMMON


def _read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((_DATA / name).read_text())
    return values


ZOO: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # name: (model type, changes to its config)
    name: (entry["model_type"], entry["config"])
    for file in ("text.json", "image_text.json")
    for name, entry in _read(file).items()
}
LEFT_OUT: Mapping[str, str] = _read("left_out.json")  # model type: why it is left out


def zoo_config(name: str) -> PreTrainedConfig:
    """Return the tiny config of that name."""
    from transformers import AutoConfig

    kind, changes = copy.deepcopy(ZOO[name])  # a config changes what it is given
    if "text_config" in changes:
        changes = {**changes, "text_config": {**COMMON, **changes["text_config"]}}
    elif kind not in _BARE:
        return tiny_config(kind, **changes)
    config: PreTrainedConfig = AutoConfig.for_model(kind, **changes)
    return config


def zoo_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """Return a full model of that config in evaluation mode, with random parameters large enough to matter."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = zoo_config(name)
    of_text = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    auto: Any = AutoModelForCausalLM if of_text else AutoModelForImageTextToText
    model = auto.from_config(config, attn_implementation="eager", experts_implementation="eager")
    return randomised(model, dtype, seed)
