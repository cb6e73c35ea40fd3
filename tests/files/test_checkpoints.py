"""The files of a model and the tensors in each; a wrong index is named."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.checkpoint_files import PLACES, SHARDS, TENSORS, same_bits, write_index, write_single
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import (
    INDEX_FILE,
    SINGLE_FILE,
    left_out_files,
    model_files,
    named_shards,
    refuse_incomplete_index,
    shard_files,
    stored_tensors,
)
from unwrite.files.safetensors import (
    read_rows,
)


def test_the_files_of_a_single_checkpoint_include_its_companions(single: Path) -> None:
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "LICENSE", "spiece.model", "merges.txt"):
        (single / name).write_text("{}")
    for other in ("README.md", "model.py", "pytorch_model.bin", "pytorch_model.bin.index.json"):
        (single / other).write_text("{}")
    (single / "folder.json").mkdir()
    assert model_files(single) == [
        "LICENSE",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        SINGLE_FILE,
        "spiece.model",
        "tokenizer.json",
    ]
    assert set(model_files(single, code=True)) == {*model_files(single), "model.py"}


def test_python_files_belong_to_a_model_whose_config_names_them(single: Path) -> None:
    (single / "modeling.py").write_text("")
    (single / "config.json").write_text('{"auto_map": {}}')
    assert "modeling.py" not in model_files(single)
    (single / "config.json").write_text('{"auto_map": {"AutoModelForCausalLM": "modeling.Tea"}}')
    assert "modeling.py" in model_files(single)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "chat_template.jinja", "README.md"])
def test_a_pipe_or_a_device_is_no_part_of_a_model(name: str, single: Path) -> None:
    (single / name).unlink(missing_ok=True)
    os.mkfifo(single / name)
    with pytest.raises(UnwriteError, match=f"{name} is a pipe, not a file"):
        model_files(single)
    (single / name).unlink()
    (single / name).symlink_to("/dev/null")
    with pytest.raises(UnwriteError, match=f"{name} is a device, not a file"):
        model_files(single)
    (single / name).unlink()
    (single / name).write_text("{}")
    assert model_files(single)


def test_what_is_left_out_is_named(single: Path) -> None:
    for name in ("README.md", ".gitattributes", "edit.json", "pytorch_model.bin", "mtp.safetensors", "vocab.bpe"):
        (single / name).write_text("")
    (single / "additional_chat_templates").mkdir()
    left = left_out_files(single, model_files(single))
    assert left == ["additional_chat_templates/", "mtp.safetensors", "pytorch_model.bin"]


def test_chat_templates_besides_the_default_one_belong_to_a_model(single: Path) -> None:
    folder = single / "additional_chat_templates"
    folder.mkdir()
    for name in ("tool_use.jinja", "notes.md"):
        (folder / name).write_text("")
    (single / "templates").mkdir()
    (single / "templates" / "tool_use.jinja").write_text("")
    names = model_files(single)
    assert [name for name in names if "/" in name] == ["additional_chat_templates/tool_use.jinja"]
    assert left_out_files(single, names) == ["additional_chat_templates/notes.md", "templates/"]


def test_the_files_of_a_sharded_checkpoint_include_its_index(sharded: Path) -> None:
    assert shard_files(sharded) == list(SHARDS)
    assert model_files(sharded) == sorted([*SHARDS, INDEX_FILE])
    assert {name: tensor.file.name for name, tensor in stored_tensors(sharded).items()} == PLACES


def test_the_single_file_counts_if_both_exist(sharded: Path) -> None:
    # As in transformers: editing the shards would change nothing that is loaded.
    write_single(sharded, {"other": torch.zeros(2)})
    assert model_files(sharded) == [SINGLE_FILE]
    assert set(stored_tensors(sharded)) == {"other"}


def test_transformers_also_loads_the_single_file_if_both_exist(sharded: Path) -> None:
    from transformers.modeling_utils import _get_resolved_checkpoint_files

    write_single(sharded, {"other": torch.zeros(2)})
    files, _ = _get_resolved_checkpoint_files(
        str(sharded), variant=None, gguf_file=None, use_safetensors=None, user_agent=None, is_remote_code=False
    )
    assert [Path(file).name for file in files or []] == [SINGLE_FILE]


def test_links_of_a_download_cache_are_followed(single: Path, tmp_path: Path) -> None:
    cache = tmp_path / "snapshot"
    cache.mkdir()
    (cache / SINGLE_FILE).symlink_to(Path("..") / SINGLE_FILE)
    assert model_files(cache) == [SINGLE_FILE]
    assert same_bits(read_rows(stored_tensors(cache)["a.weight"], slice(0, 4)), TENSORS["a.weight"])


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "last.ckpt"])
def test_pickled_weights_are_refused_with_a_remedy(tmp_path: Path, pickle: str) -> None:
    (tmp_path / pickle).write_bytes(b"\x80\x04.")
    with pytest.raises(UnwriteError, match=rf"only pickled weights \({pickle}\).* Convert them to safetensors"):
        model_files(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=f"has neither {SINGLE_FILE} nor {INDEX_FILE}"):
        stored_tensors(tmp_path)


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwriteError, match=f"{what} is not a folder: check model.source"):
        model_files(tmp_path / what)


@pytest.mark.parametrize("remove", ["missing", "broken link"])
def test_an_index_that_names_a_missing_shard_is_refused(sharded: Path, remove: str) -> None:
    (sharded / SHARDS[1]).unlink()
    if remove == "broken link":
        (sharded / SHARDS[1]).symlink_to("nowhere")
    with pytest.raises(UnwriteError, match=f"names the shard {SHARDS[1]}, which is missing. Download it again"):
        model_files(sharded)


@pytest.mark.parametrize("path", ["../x.safetensors", "/etc/x", "a/b.safetensors", "..", ".", "", "a/", "x\0y"])
def test_an_index_that_names_a_path_is_refused_or_finds_nothing(tmp_path: Path, path: str) -> None:
    inside = tmp_path / "model"
    (inside / "a").mkdir(parents=True)
    save_file(TENSORS, tmp_path / "x.safetensors")
    save_file(TENSORS, inside / "a" / "b.safetensors")
    write_index(inside, {"weight_map": {"a.weight": path}})
    with pytest.raises(UnwriteError, match=r"not a plain file name in that folder. Refused|which is missing"):
        stored_tensors(inside)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"weight_map": []}',
        b'{"weight_map": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_not_an_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / INDEX_FILE).write_bytes(content)
    with pytest.raises(UnwriteError, match=r"is not a safetensors index \(an object with weight_map\)"):
        shard_files(tmp_path)


def test_an_index_that_names_the_wrong_shard_of_a_tensor_is_refused(sharded: Path) -> None:
    write_index(sharded, {"weight_map": {**PLACES, "a.weight": SHARDS[1], "b.weight": SHARDS[0]}})
    with pytest.raises(UnwriteError, match=f"says that {SHARDS[1]} holds a.weight, but it does not"):
        stored_tensors(sharded)


def test_an_index_that_names_a_missing_tensor_is_refused(sharded: Path) -> None:
    write_index(sharded, {"weight_map": {**PLACES, "ghost": SHARDS[0]}})
    with pytest.raises(UnwriteError, match=f"says that {SHARDS[0]} holds ghost, but it does not"):
        stored_tensors(sharded)


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    save_file(TENSORS, sharded / SHARDS[0])
    with pytest.raises(UnwriteError, match=f"the tensor b.bias is in {SHARDS[0]} and in {SHARDS[1]}"):
        stored_tensors(sharded)


def test_named_shards_include_missing_ones(sharded: Path) -> None:
    (sharded / SHARDS[0]).unlink()
    assert named_shards(sharded) == list(SHARDS)
    with pytest.raises(UnwriteError, match="names the shard"):
        shard_files(sharded)


def test_an_index_without_metadata_is_said_to_lack_it(tmp_path: Path) -> None:
    index = tmp_path / INDEX_FILE
    refuse_incomplete_index(tmp_path)  # a single file needs no index
    index.write_text('{"metadata": {}, "weight_map": {"a": "b.safetensors"}}')
    refuse_incomplete_index(tmp_path)
    index.write_text('{"weight_map": {"a": "b.safetensors"}}')
    with pytest.raises(UnwriteError, match="lacks 'metadata', which transformers needs"):
        refuse_incomplete_index(tmp_path)
