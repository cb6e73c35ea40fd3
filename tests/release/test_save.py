"""Checkpoints saved from a notebook: the exact edit, of a recipe made by hand, in a release that verifies."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.support.architectures import written_by
from tests.support.releases import flip_bit
from tests.support.samples import KERNEL, sample_base, sample_settings
from tests.support.tiny import tiny_tokenizer
from tests.support.zoo import zoo_model
from unwrite.core.direction_set import compute_directions
from unwrite.editing.recipe import make_recipe
from unwrite.editing.weights import edited
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import model_files
from unwrite.files.hashing import digest_of
from unwrite.files.tensors import write_tensors
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.release.explain import explain_release
from unwrite.release.save import save_edited_checkpoint
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import Base, Recipe, TrialParameters

PARAMETERS = TrialParameters(direction_scope="global", direction_index=1.25, position=0, attention=KERNEL, mlp=KERNEL)


class Notebook(NamedTuple):
    """What a notebook has at hand."""

    base_folder: Path
    base: Base
    recipe: Recipe
    directions: dict[str, Tensor]
    folder: Path

    def save(self) -> None:
        save_edited_checkpoint(self.folder, self.base_folder, self.base, self.recipe, self.directions)


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    base_folder = tmp_path / "base"
    model = zoo_model("starcoder2", torch.bfloat16)
    model.save_pretrained(base_folder)
    tiny_tokenizer().save_pretrained(base_folder)
    writers = written_by("starcoder2", model)
    files = [digest_of(base_folder / name) for name in model_files(base_folder)]
    base = sample_base(writers, source=str(base_folder), commit=None, hidden_size=32, files=files)
    generator = torch.Generator().manual_seed(3)
    target, baseline = torch.randn(2, 8, 1, 4, 32, generator=generator)
    directions = compute_directions(target, baseline, orthogonalization="projected")
    recipe = make_recipe(PARAMETERS, writers, sample_settings(norm_preservation="columns"))
    return Notebook(base_folder, base, recipe, directions, tmp_path / "my-model")


def test_a_release_of_a_recipe_made_by_hand_verifies(notebook: Notebook) -> None:
    notebook.save()
    found = verify_release(notebook.folder, notebook.base_folder)
    assert (found.passed, found.complete) == (True, True)
    assert found.tensors is not None
    assert found.tensors.declared == 2 * len(notebook.recipe.edits)
    assert found.tensors.all > found.tensors.declared
    manifest = json.loads((notebook.folder / "provenance.json").read_text())
    assert manifest["predicate"]["buildDefinition"]["internalParameters"]["trial"] is None
    flip_bit(notebook.folder, notebook.recipe.edits[0].matrix.parameter)
    assert not verify_release(notebook.folder, notebook.base_folder).passed


def test_the_explanation_says_that_there_was_no_search(notebook: Notebook) -> None:
    notebook.save()
    assert "No search; chosen by hand." in explain_release(notebook.folder)


def test_the_saved_tensors_are_those_of_the_edited_model(notebook: Notebook) -> None:
    notebook.save()
    saved = load_file(notebook.folder / "model.safetensors")
    model = load_model(notebook.base_folder, "bfloat16", torch.device("cpu"))
    names = [layout.parameter for edit in notebook.recipe.edits for layout in (edit.matrix, edit.bias) if layout]
    with edited(model, notebook.recipe, notebook.directions):
        assert all(torch.equal(model.get_parameter(name), saved[name]) for name in names)
    assert not any(torch.equal(model.get_parameter(name), saved[name]) for name in names)


def test_recipe_and_directions_are_saved_with_the_model(notebook: Notebook) -> None:
    notebook.save()
    assert Recipe.model_validate_json((notebook.folder / "edit.json").read_bytes()) == notebook.recipe
    saved = load_file(notebook.folder / "directions.safetensors")
    assert saved.keys() == notebook.directions.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in notebook.directions.items())


def test_a_directions_file_is_copied_with_its_metadata(notebook: Notebook, tmp_path: Path) -> None:
    file = tmp_path / "directions.safetensors"
    write_tensors(file, notebook.directions, {"center": "mean"})
    folder, base_folder, base, recipe, directions = notebook.folder, *notebook[:4]
    save_edited_checkpoint(folder, base_folder, base, recipe, directions, directions_file=file)
    assert (folder / "directions.safetensors").read_bytes() == file.read_bytes()


def test_the_log_tells_how_many_tensors_were_edited(notebook: Notebook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unwrite"):
        notebook.save()
    tensors = len(load_file(notebook.folder / "model.safetensors"))
    assert f"{2 * len(notebook.recipe.edits)} of {tensors} tensors edited" in caplog.text


def test_incomplete_directions_are_refused_before_anything_is_written(notebook: Notebook) -> None:
    del notebook.directions["target_mean"]
    with pytest.raises(UnwriteError, match="must hold baseline_mean, directions, target_mean"):
        notebook.save()
    assert not notebook.folder.exists()


def test_every_chat_template_of_the_base_goes_along(notebook: Notebook) -> None:
    template = notebook.base_folder / "additional_chat_templates" / "tool_use.jinja"
    template.parent.mkdir()
    template.write_text("{{ tools }}")
    names = model_files(notebook.base_folder)
    files = [digest_of(notebook.base_folder / name, name) for name in names]
    notebook._replace(base=notebook.base.model_copy(update={"files": files})).save()
    templates = load_tokenizer(notebook.folder).chat_template
    assert isinstance(templates, dict)
    assert templates["tool_use"] == "{{ tools }}"
    assert verify_release(notebook.folder, notebook.base_folder).passed
    template.unlink()
    assert not verify_release(notebook.folder, notebook.base_folder).passed


@pytest.mark.parametrize("inside", [False, True])
def test_the_base_is_not_overwritten(notebook: Notebook, inside: bool) -> None:
    folder = notebook.base_folder.parent if inside else notebook.base_folder
    before = {path.name: path.read_bytes() for path in notebook.base_folder.iterdir()}
    with pytest.raises(UnwriteError, match="holds the base model: choose another folder"):
        notebook._replace(folder=folder).save()
    assert {path.name: path.read_bytes() for path in notebook.base_folder.iterdir()} == before


def test_a_folder_that_is_not_a_release_is_not_replaced(notebook: Notebook) -> None:
    notebook.folder.mkdir()
    (notebook.folder / "thesis.tex").write_text("years")
    with pytest.raises(UnwriteError, match="is not a release of unwrite and would be lost"):
        notebook.save()
    assert (notebook.folder / "thesis.tex").read_text() == "years"
    (notebook.folder / "thesis.tex").unlink()
    notebook.save()  # an empty folder is replaced
    notebook.save()  # and so is a release
    assert verify_release(notebook.folder, notebook.base_folder).passed
