"""A GGUF file becomes a plain checkpoint with the weights that it stands for; a damaged one is named in one line."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from gguf import dequantize as blocks_to_numbers

from tests.support.gguf_files import Q4_1, TEMPLATE, quantized, tensors, write_gguf
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.models.gguf import dequantize, gguf_config
from unwrite.models.loading import load_config, load_model, load_tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def checkpoint(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    dequantize(file, folder)
    return folder


def test_weights_are_those_that_the_blocks_stand_for(checkpoint: Path) -> None:
    model = load_model(checkpoint, device="cpu")
    stored = tensors()["blk.1.ffn_down.weight"]
    meant = torch.from_numpy(blocks_to_numbers(quantized(stored), Q4_1)).bfloat16()
    found = model.get_parameter("model.layers.1.mlp.down_proj.weight")
    assert torch.equal(found, meant)
    assert not torch.equal(found, torch.from_numpy(stored).bfloat16())  # 4 bits are fewer
    embedding = torch.from_numpy(tensors()["token_embd.weight"]).bfloat16()
    assert torch.equal(model.get_parameter("model.embed_tokens.weight"), embedding)


def test_checkpoint_loads_as_any_other(checkpoint: Path) -> None:
    assert getattr(load_model(checkpoint, device="cpu").config, "quantization_config", None) is None
    tokenizer = load_tokenizer(checkpoint)
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.decode(tokenizer.encode("hello, ☕")) == "hello, ☕"


def test_a_log_has_no_bars(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dequantize(file, tmp_path)
    assert capfd.readouterr().err == ""


def test_every_run_writes_the_same_bytes(
    checkpoint: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    dequantize(file, tmp_path)
    written = {path.name: sha256_of(path) for path in tmp_path.iterdir()}
    assert written == {path.name: sha256_of(path) for path in checkpoint.iterdir()}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9])
def test_a_file_cut_short_is_named_in_one_line(file: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(UnwriteError, match=r"cut\.gguf cannot be read as a model \(.*get it again\.$") as caught:
        dequantize(cut, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_tensor_is_no_random_one(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "gap.gguf", without="blk.1.ffn_down.weight")
    with pytest.raises(UnwriteError, match=r"gap\.gguf has no tensor model\.layers\.1\.mlp\.down_proj\.weight \(1 in"):
        dequantize(file, tmp_path)


def test_an_architecture_that_is_not_converted_is_named_in_one_line(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "other.gguf", architecture="rwkv6")
    expected = r"^transformers [\d.]+ cannot convert .*other\.gguf, whose architecture is rwkv6 \("
    for read in (gguf_config, lambda path: dequantize(path, tmp_path / "folder")):
        with pytest.raises(UnwriteError, match=expected) as error:
            read(file)
        assert str(error.value).endswith("). Use a safetensors checkpoint of the model.")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "folder").exists()


def test_the_configuration_is_read_without_the_weights(file: Path, checkpoint: Path, tmp_path: Path) -> None:
    config, stored = gguf_config(file), load_config(checkpoint)
    for name in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "tie_word_embeddings"):
        assert getattr(config, name) == getattr(stored, name)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnwriteError, match=r"cut\.gguf cannot be read as a model \(.*get it again\.$"):
        gguf_config(cut)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"nowhere\.gguf is missing: expected a GGUF file"):
        dequantize(tmp_path / "nowhere.gguf", tmp_path)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnwriteError, match=rf"tiny\.gguf needs {package}: pip install 'unwrite\[gguf\]'"):
        dequantize(file, tmp_path)


def test_a_full_disk_is_named_in_one_line(file: Path, tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from unwrite.errors import UnwriteError
from unwrite.models.gguf import dequantize
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
try:
    dequantize(Path({str(file)!r}), Path({str(tmp_path)!r}))
except UnwriteError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"{tmp_path} cannot be written (" in done.stdout
    assert done.stdout.endswith("Free some space and run again.\n")
    assert done.stdout.count("\n") == 1


def test_the_file_of_these_tests_has_both_kinds_of_tensors(file: Path) -> None:
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(file).tensors}
    assert kinds == {"F32", "Q4_1"}
