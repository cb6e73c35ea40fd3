"""A prefix is shared only where the model computes the same behind it, on every architecture of the zoo."""

from __future__ import annotations

import pytest
import torch

from tests.models.test_generation import GENERATING
from tests.support.zoo import zoo_model
from unwrite.models.generation import generate_greedily
from unwrite.models.prefix_check import prefix_of
from unwrite.models.shared_work import SharedWork

HEAD = [11, 12, 13, 14]
PROMPTS = [[*HEAD, *rest] for rest in ([3, 4, 5, 6, 7, 8, 9], [10], [20, 21, 22], [5, 6])]
OTHERS = {"cpmant", "mpt", "paligemma"}  # distances that count padding, and tokens that attend to later ones
SHARING = {"arcee", "llama", "gpt2", "opt", "phi3", "qwen3_moe"}


@pytest.mark.parametrize("name", GENERATING)
@pytest.mark.filterwarnings("ignore")
def test_responses_behind_the_prefix_are_those_of_whole_prompts(name: str) -> None:
    model = zoo_model(name, torch.float32)
    for config in (model.config, model.config.get_text_config()):
        config.eos_token_id = None
    whole = generate_greedily(model, PROMPTS, 6, batches=[[0], [1], [2], [3]])
    together = [[0, 1, 2, 3]]
    sensitive = generate_greedily(model, PROMPTS, 6, batches=together) != whole
    prefix = prefix_of(model, PROMPTS, padding_sensitive=sensitive)
    assert prefix in ([], HEAD)
    if name in OTHERS:
        assert prefix == []
        # The control: behind the prefix these models say something else.
        assert sensitive or generate_greedily(model, PROMPTS, 6, batches=together, shared=SharedWork(HEAD)) != whole
        return
    if name in SHARING:
        assert prefix == HEAD
    if not sensitive:
        assert generate_greedily(model, PROMPTS, 6, batches=together, shared=SharedWork(prefix)) == whole


def test_prompts_that_share_nothing_or_mind_padding_have_no_prefix() -> None:
    model = zoo_model("llama", torch.float32)
    assert prefix_of(model, [[1, 2, 3], [2, 3]], padding_sensitive=False) == []
    assert prefix_of(model, PROMPTS, padding_sensitive=True) == []
    assert prefix_of(model, PROMPTS, padding_sensitive=False) == HEAD
    assert prefix_of(model, PROMPTS, padding_sensitive=False, rest=2) == HEAD[:3]
