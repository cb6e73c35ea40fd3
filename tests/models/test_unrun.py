"""What a checkpoint stores and its model does not run is named; what runs, and what is no matrix, is not."""

from __future__ import annotations

import pytest

from tests.support.zoo import zoo_config, zoo_model
from unwrite.models.conversion import unloaded_tensors
from unwrite.models.unrun import unrun_modules

UNRUN = {  # a tensor beside those of the model: its shape, and the module that stands for it
    "model.layers.3.mlp.down_proj.weight": ([32, 48], "model.layers.3"),
    "model.layers.3.enorm.weight": ([32], None),
    "mtp.fc.weight": ([32, 64], "mtp.fc"),
    "mtp.layers.0.mlp.experts.7.down_proj.weight": ([32, 16], "mtp.layers.0"),
    "model.visual.patch_embed.weight": ([24, 3, 8, 8], None),
}


@pytest.mark.parametrize("tensor", UNRUN)
@pytest.mark.parametrize("name", ["llama", "deepseek_v3"])
def test_matrices_of_the_stream_that_are_not_loaded_are_named(name: str, tensor: str) -> None:
    stored = {key: list(value.shape) for key, value in zoo_model(name).state_dict().items()}
    assert unrun_modules(zoo_config(name), stored) == []
    shape, module = UNRUN[tensor]
    stored[tensor] = shape
    assert unloaded_tensors(zoo_config(name), stored.keys()) == [tensor]
    assert unrun_modules(zoo_config(name), stored) == ([] if module is None else [module])


def test_a_module_is_named_once() -> None:
    stored = {key: list(value.shape) for key, value in zoo_model("llama").state_dict().items()}
    stored |= {f"model.layers.{layer}.mlp.{name}_proj.weight": [32, 32] for layer in (3, 4) for name in ("up", "down")}
    assert unrun_modules(zoo_config("llama"), stored) == ["model.layers.3", "model.layers.4"]
