"""Damaged, unknown or forbidden files give one-line errors, and a model's own code runs only if allowed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import tiny_config, tiny_model, tiny_tokenizer
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.models.load_errors import REMOTE_CODE_VARIABLE, trust_remote_code
from unwrite.models.loading import dtype_of_model, load_config, load_model, load_tokenizer, model_class
from unwrite.models.placement import pick_device

CPU = torch.device("cpu")
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model(tiny_config("llama")).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def warnings_as_they_are() -> None:
    """Reset the verbosity of transformers, which loading a model lowers."""
    from transformers.utils import logging

    logging.set_verbosity_warning()


@pytest.fixture(autouse=True)
def no_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REMOTE_CODE_VARIABLE, raising=False)


def refusal(folder: Path) -> str:
    with pytest.raises(UnwriteError) as error:
        load_model(folder, "float32", CPU)
    text = str(error.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_model_is_complete_frozen_and_in_the_dtype(
    folder: Path, dtype: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    capfd.readouterr()
    model = load_model(folder, dtype, CPU)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    stored = load_file(folder / WEIGHTS)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[name].to(getattr(torch, dtype)))
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


@pytest.mark.parametrize(("dtype", "free"), [("float32", 10**9), ("bfloat16", 1000)])
def test_the_default_is_float32_on_a_cpu_with_room_for_it(
    folder: Path, dtype: str, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_model(folder, "bfloat16", CPU).save_pretrained(folder)
    monkeypatch.setattr("unwrite.models.loading.free_memory", lambda: free)
    model = load_model(folder, device=CPU)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert dtype_of_model(folder, "auto", "cpu") == dtype
    assert dtype_of_model(folder, "float16", "cpu") == "float16"


def test_the_default_device_is_the_best_one(folder: Path) -> None:
    model = load_model(str(folder))
    assert model.device.type == pick_device("auto").type
    assert load_tokenizer(str(folder)).chat_template


def test_unknown_dtype_is_an_error(folder: Path) -> None:
    for name in ("float23", "nn"):
        with pytest.raises(ValueError, match=f"dtype must be auto or the name of a torch dtype, got '{name}'"):
            load_model(folder, name)


@pytest.mark.parametrize("length", [0, 4, 100, 3000, -5])
def test_truncated_checkpoint_is_refused(folder: Path, length: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:length])
    assert "header" in refusal(folder)


def test_corrupted_checkpoint_is_refused(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:8] + b"?" * 64 + data[72:])
    assert "header" in refusal(folder)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_file_that_the_system_refuses_is_told_with_its_reason(
    folder: Path, name: str, load: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnwriteError, match=rf"/{re.escape(name)}: Permission denied\. Fix the permissions"):
        load(folder)


def test_missing_tensor_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert "has no tensor model.layers.1.mlp.down_proj.weight (1 in all)" in refusal(folder)
    assert caplog.messages == []


def test_tensor_of_another_shape_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert "has another shape for model.norm.weight (1 in all)" in refusal(folder)
    assert caplog.messages == []


def test_tied_embeddings_are_not_missing(tmp_path: Path) -> None:
    tiny_model(tiny_config("llama", tie_word_embeddings=True)).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / WEIGHTS)
    load_model(tmp_path, "float32", CPU)


@pytest.mark.parametrize("name", ["gemma3", "qwen2_vl", "qwen3_vl", "llava", "mistral3", "internvl"])
def test_image_text_model_is_complete(name: str, tmp_path: Path) -> None:
    saved = zoo_model(name)
    saved.save_pretrained(tmp_path)
    model = load_model(tmp_path, "float32", CPU)
    assert type(model) is type(saved)
    parameters = dict(saved.named_parameters())
    assert {name for name, _ in model.named_parameters()} == set(parameters)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, parameters[key])
    ids = torch.tensor([[3, 4, 5, 6]])
    torch.testing.assert_close(model(input_ids=ids).logits, saved(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen3_5", "llama4"])
def test_text_model_of_a_multimodal_checkpoint_is_loaded_if_there_is_one(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    whole = AutoModelForImageTextToText.from_config(zoo_config(name)).eval()
    whole.save_pretrained(tmp_path)
    model = load_model(tmp_path, "float32", CPU)
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in whole.parameters())
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


def test_model_class_is_the_one_with_an_output_head() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    for name in ("llama", "gemma3", "llama4", "mamba"):
        assert model_class(zoo_config(name)) is AutoModelForCausalLM
    for name in ("llava", "qwen3_vl"):
        assert model_class(zoo_config(name)) is AutoModelForImageTextToText
    # For a known type the code in the folder is ignored; for an unknown one there is nothing else.
    known = zoo_config("llava")
    known.auto_map = {"AutoModelForCausalLM": "teapot.Teapot"}
    assert model_class(known) is AutoModelForImageTextToText
    unknown = AutoConfig.for_model("vit", auto_map={"AutoModelForCausalLM": "teapot.Teapot"})
    assert model_class(unknown) is AutoModelForCausalLM


def test_model_without_language_has_no_class() -> None:
    from transformers import AutoConfig

    with pytest.raises(UnwriteError, match=r"no language model for configurations of type 'vit'\. Use .*\.$"):
        model_class(AutoConfig.for_model("vit"))


def test_model_without_language_is_not_loaded(folder: Path) -> None:
    change_config(folder, model_type="vit")
    with pytest.raises(UnwriteError, match="no language model for configurations of type 'vit'"):
        load_model(folder, "float32", CPU)


def test_quantized_text_part_is_refused(tmp_path: Path) -> None:
    zoo_config("llava").save_pretrained(tmp_path)
    load_config(tmp_path)
    path = tmp_path / "config.json"
    text = json.loads(path.read_text())
    text["text_config"]["quantization_config"] = {"quant_method": "compressed-tensors"}
    path.write_text(json.dumps(text))
    with pytest.raises(UnwriteError, match=r"quantized checkpoint \(compressed-tensors\)"):
        load_config(tmp_path)


class Bomb:
    """An object whose unpickling creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_not_read(folder: Path, name: str) -> None:
    mark = folder / "unpickled"
    (folder / WEIGHTS).unlink()
    torch.save({"model.norm.weight": Bomb(mark)}, folder / name)
    assert "safetensors" in refusal(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "mxfp4"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
    ],
)
def test_quantized_checkpoint_is_refused(folder: Path, quantization: dict[str, Any]) -> None:
    change_config(folder, quantization_config=quantization)
    method = quantization.get("quant_method", "unknown method")
    with pytest.raises(UnwriteError, match=rf"quantized checkpoint \({method}\), .*unquantized"):
        load_config(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"model_type": "teapot"}',
        '{"model_type": "llama", "hidden_size": "wide"}',
        '{"model_type": "llama", "hidden_size": 33}',
        '{"model_type": "llama", "rope_parameters": 7}',
        '{"model_type": "llama", "quantization_config": "yes"}',
    ],
)
def test_damaged_config_gives_a_one_line_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(UnwriteError, match=r"^[^\n]*: cannot read the model's configuration: [^\n]+$"):
        load_config(folder)


def test_missing_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="cannot read the model's configuration"):
        load_config(tmp_path)


def test_missing_folder_is_not_taken_for_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for load in (load_model, load_tokenizer):
        with pytest.raises(UnwriteError, match=r"^demo/modle is not a folder: expected"):
            load("demo/modle")


@pytest.mark.parametrize("text", ["", "[]", "{}", "teapot"])
def test_damaged_tokenizer_gives_a_one_line_error(folder: Path, text: str) -> None:
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(UnwriteError, match=r"^[^\n]*: cannot load the tokenizer: [^\n]+$"):
        load_tokenizer(folder)


def test_tokenizer_has_its_chat_template(folder: Path) -> None:
    assert load_tokenizer(folder).chat_template == tiny_tokenizer().chat_template


REMOTE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from transformers import {base}
class Teapot({base}):
    model_type = "teapot"
"""


@pytest.fixture
def remote(folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with code for its configuration, model and tokenizer; running the code creates a file."""
    import transformers.dynamic_module_utils as dynamic

    modules = tmp_path_factory.mktemp("modules")
    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "teapot.py").write_text(REMOTE.format(base="LlamaConfig").replace("__file__", repr(str(folder / "x"))))
    yield folder
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_remote_code_is_refused_and_not_run(remote: Path) -> None:
    change_config(remote, model_type="teapot", auto_map={"AutoConfig": "teapot.Teapot"})
    with pytest.raises(UnwriteError, match=f"{REMOTE_CODE_VARIABLE}=1") as error:
        load_config(remote)
    assert "\n" not in str(error.value)
    assert not (remote / "ran").exists()


@pytest.mark.parametrize("value", ["0", "", "true", "yes"])
def test_only_the_value_1_allows_remote_code(remote: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REMOTE_CODE_VARIABLE, value)
    assert not trust_remote_code()
    change_config(remote, model_type="teapot", auto_map={"AutoConfig": "teapot.Teapot"})
    with pytest.raises(UnwriteError):
        load_config(remote)
    assert not (remote / "ran").exists()


def test_control_remote_code_runs_when_allowed(remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REMOTE_CODE_VARIABLE, "1")
    change_config(remote, model_type="teapot", auto_map={"AutoConfig": "teapot.Teapot"})
    assert type(load_config(remote)).__name__ == "Teapot"
    assert (remote / "ran").exists()


def test_remote_code_of_a_known_type_is_not_run(remote: Path) -> None:
    names = {
        "AutoConfig": "teapot.Teapot",
        "AutoModelForCausalLM": "teapot.Teapot",
        "AutoTokenizer": [None, "teapot.T"],
    }
    change_config(remote, auto_map=names)
    path = remote / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": [None, "teapot.T"]}}))
    assert type(load_config(remote)).__name__ == "LlamaConfig"
    assert type(load_model(remote, "float32", CPU)).__name__ == "LlamaForCausalLM"
    load_tokenizer(remote)
    assert not (remote / "ran").exists()


def test_model_too_large_for_the_device_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    assert "does not fit in the memory of cpu" in refusal(folder)


def test_importing_the_module_does_not_import_transformers() -> None:
    code = "import sys, unwrite.models.loading; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


def test_config_of_a_quantized_checkpoint_loads_without_weights(tmp_path: Path) -> None:
    tiny_config("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "mxfp4"}}))
    with pytest.raises(UnwriteError, match=r"quantized checkpoint \(mxfp4\)"):
        load_config(tmp_path)
    assert load_config(tmp_path, weights=False).model_type == "llama"


def test_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnwriteError, match="holds an adapter, not a model"):
        load_config(tmp_path)


def test_classifier_is_refused(tmp_path: Path) -> None:
    tiny_config("llama", architectures=["LlamaForSequenceClassification"]).save_pretrained(tmp_path)
    with pytest.raises(UnwriteError, match="is a LlamaForSequenceClassification, which scores text"):
        load_config(tmp_path)
