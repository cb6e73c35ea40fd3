"""Models that also read images: their text path is edited, and everything else of them is carried over unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText

from tests.support.releases import flip_bit
from tests.support.samples import KERNEL, sample_settings
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.direction_set import compute_directions
from unwrite.editing.recipe import make_recipe
from unwrite.files.checkpoints import stored_tensors
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.pinning import pin_base
from unwrite.release.save import save_edited_checkpoint
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import Base, TrialParameters

PARAMETERS = TrialParameters(direction_scope="global", direction_index=1.25, position=0, attention=KERNEL, mlp=KERNEL)
PROCESSOR = {
    "preprocessor_config.json": {"do_resize": True, "size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.5, 0.5]},
    "processor_config.json": {"processor_class": "LlavaProcessor", "patch_size": 8},
    "video_preprocessor_config.json": {"fps": 2},
    "chat_template.json": {"chat_template": "{{ messages[0].content }}"},
}
KINDS = ["llava", "qwen2_vl", "paligemma"]


class Edited(NamedTuple):
    """A model's record, its folder, and the folder of its release."""

    base: Base
    before: Path
    after: Path


@pytest.fixture(scope="module", params=KINDS)
def edited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    folder = tmp_path_factory.mktemp(request.param)
    source, release = folder / "base", folder / "release"
    zoo_model(request.param, torch.bfloat16).save_pretrained(source, max_shard_size="60KB")
    tiny_tokenizer().save_pretrained(source)
    for name, values in PROCESSOR.items():
        (source / name).write_text(json.dumps(values) + " \n\n")  # no library would write it so
    base = pin_base(str(source))
    generator = torch.Generator().manual_seed(3)
    shape = (2, 8, 1, base.layers + 1, base.hidden_size)
    target, baseline = torch.randn(shape, generator=generator)
    directions = compute_directions(target, baseline, orthogonalization="projected")
    recipe = make_recipe(PARAMETERS, base.writers, sample_settings(norm_preservation="rows"))
    save_edited_checkpoint(release, pinned_folder(base), base, recipe, directions)
    return Edited(base, source, release)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every tensor by name."""
    found = {}
    for name, tensor in stored_tensors(folder).items():
        with safe_open(tensor.file, "pt") as file:
            found[name] = file.get_tensor(name).contiguous().view(torch.uint8).numpy().tobytes()
    return found


def test_processor_tokenizer_and_configuration_are_the_same_bytes(edited: Edited) -> None:
    names = {file.name for file in edited.base.files if not file.name.endswith(".safetensors")}
    assert names >= {*PROCESSOR, "config.json", "tokenizer.json"}
    for name in names:
        assert (edited.after / name).read_bytes() == (edited.before / name).read_bytes()


def test_only_writers_of_the_text_path_differ(edited: Edited) -> None:
    before, after = contents(edited.before), contents(edited.after)
    assert before.keys() == after.keys()
    written = {stored.tensor for writer in edited.base.writers for stored in writer.matrix.stored}
    written |= {stored.tensor for writer in edited.base.writers if writer.bias for stored in writer.bias.stored}
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert changed <= written
    others = {name for name in before if any(part in name for part in ("vision", "visual", "projector", "merger"))}
    assert others
    assert not others & written


def test_the_release_verifies_and_one_with_another_image_tensor_does_not(edited: Edited) -> None:
    found = verify_release(edited.after, edited.before)
    assert (found.passed, found.complete) == (True, True), found
    name = next(name for name in stored_tensors(edited.after) if "vision" in name or "visual" in name)
    flip_bit(edited.after, name)
    failed = verify_release(edited.after, edited.before)
    flip_bit(edited.after, name)
    assert not failed.passed
    assert any(name in detail for check in failed.checks for detail in check.details)


def test_the_release_loads_whole_and_answers_otherwise_to_text(edited: Edited) -> None:
    models: list[Any] = []
    for folder in (edited.before, edited.after):
        loaded: Any = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
        model, report = loaded
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        models.append(model.eval().float())
    images = [
        {name: value for name, value in model.named_parameters() if "vision" in name or "visual" in name}
        for model in models
    ]
    assert images[0]
    assert all(torch.equal(value, images[1][name]) for name, value in images[0].items())
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        first, second = (model(input_ids=tokens).logits for model in models)
    assert not torch.allclose(first, second, rtol=1e-3)
    assert load_tokenizer(edited.after)("teapot") == load_tokenizer(edited.before)("teapot")
    assert type(load_model(edited.after, "float32", "cpu")) is type(models[1])
