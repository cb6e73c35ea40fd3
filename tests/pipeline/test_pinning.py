"""A pinned model is recorded with its files and writers; a model without an exact edit is refused."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.connected_hub import connected_hub
from tests.support.fake_hub import FakeHub
from tests.support.found_once import find_writers_once, writers_found_once
from tests.support.zoo import zoo_config, zoo_model
from unwrite.errors import UnwriteError
from unwrite.files.cards import NO_CARD
from unwrite.models.discovery.findings import Discovery
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.pinning import pin_base
from unwrite.schema.artifacts import Base, BaseCard, Norm, StoredLayout, Writer

ROOT = Path(__file__).parents[2]
MODEL = Path("demo/model")
SOURCE = str(MODEL)
WEIGHTS = MODEL / "model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def _writers_found_once() -> Iterator[None]:
    """Most tests pin the demo's model, in which discovery always finds the same."""
    with writers_found_once():
        yield


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The current folder, with the demo model and nothing else."""
    shutil.copytree(ROOT / MODEL, tmp_path / MODEL)
    with chdir(tmp_path):
        yield tmp_path


def refusal(*, allow_incomplete: bool = False) -> str:
    with pytest.raises(UnwriteError) as error:
        pin_base(SOURCE, allow_incomplete=allow_incomplete)
    text = str(error.value)
    assert text.count("\n") <= 1
    return text


def assert_refused(match: str, *, allow_incomplete: bool = False) -> None:
    text = refusal(allow_incomplete=allow_incomplete)
    assert re.search(match, text), text


def save_zoo_model(name: str) -> None:
    """Replace the demo's model with one of the zoo."""
    shutil.rmtree(MODEL)
    zoo_model(name).save_pretrained(MODEL)


def rewrite(change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> None:
    save_file(dict(change(load_file(WEIGHTS))), WEIGHTS, metadata={"format": "pt"})


def change_config(**changes: Any) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    (MODEL / "config.json").write_text(json.dumps(config | changes))


def writer_of(base: Base, parameter: str) -> Writer:
    return next(writer for writer in base.writers if writer.matrix.parameter == parameter)


def discover(monkeypatch: pytest.MonkeyPatch, change: Callable[[Discovery], Discovery]) -> None:
    """Change what discovery finds."""
    monkeypatch.setattr("unwrite.pipeline.pinning.find_writers", lambda config: change(find_writers_once(config)))


# What is recorded


def test_base_lists_every_file_and_every_writer(project: Path) -> None:
    base = pin_base(SOURCE)
    digests = {file.name: file.sha256 for file in base.files}
    assert set(digests) == {path.name for path in MODEL.iterdir()} - {"README.md"}  # read, not the model's
    assert digests["model.safetensors"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    expected = {
        f"model.layers.{layer}.{module}.weight"
        for layer in range(6)
        for module in ("self_attn.o_proj", "mlp.down_proj")
    }
    assert {writer.matrix.parameter for writer in base.writers} == expected
    assert {w.component for w in base.writers if "o_proj" in w.module} == {"attention"}
    config = json.loads((MODEL / "config.json").read_text())
    assert (base.hidden_size, base.vocabulary) == (config["hidden_size"], config["vocab_size"])
    assert (base.layers, base.commit, base.compute_dtype, base.incomplete) == (6, None, "auto", [])
    for writer in base.writers:
        name = writer.matrix.parameter
        assert writer.matrix.stored == [StoredLayout(tensor=name, axis=0, num_matrices=1)]
        assert (writer.bias, writer.norms, writer.shared_layers, writer.dtype) == (None, [], [], "BF16")
        assert tuple(writer.shape) == load_file(WEIGHTS)[name].shape


def test_licence_and_language_are_read_from_the_card(project: Path) -> None:
    base = pin_base(SOURCE)
    assert base.card == BaseCard(license="apache-2.0", license_name=None, license_link=None, language=["en"])


def test_model_without_a_card_has_no_licence(project: Path) -> None:
    (MODEL / "README.md").unlink()
    assert pin_base(SOURCE).card == NO_CARD


def test_broken_card_is_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (MODEL / "README.md").write_text("---\nlicense: [mit\n---\n")
    assert pin_base(SOURCE).card == NO_CARD
    assert "warning: demo/model/README.md opens with front matter that is not YAML (line 2: " in capsys.readouterr().err


def test_experts_stored_as_separate_tensors_are_located(project: Path) -> None:
    save_zoo_model("mixtral")
    writer = writer_of(pin_base(SOURCE), "model.layers.1.mlp.experts.down_proj")
    assert (writer.matrix.axis, writer.matrix.num_matrices, writer.shape) == (1, 8, [8, 32, 48])
    names = [f"model.layers.1.block_sparse_moe.experts.{expert}.w2.weight" for expert in range(8)]
    assert writer.matrix.stored == [StoredLayout(tensor=name, axis=0, num_matrices=1) for name in names]


def test_fused_experts_are_recorded_with_their_biases(project: Path) -> None:
    save_zoo_model("gpt_oss")
    base = pin_base(SOURCE)
    writer = writer_of(base, name := "model.layers.1.mlp.experts.down_proj")
    assert (writer.shape, writer.component) == ([8, 48, 32], "mlp")
    assert writer.matrix.stored == [StoredLayout(tensor=name, axis=2, num_matrices=8)]
    assert writer.bias is not None
    assert writer.bias.stored == [StoredLayout(tensor=f"{name}_bias", axis=1, num_matrices=8)]
    plain = writer_of(base, "model.layers.1.self_attn.o_proj.weight")
    assert plain.bias is not None
    assert (plain.bias.axis, plain.bias.num_matrices) == (0, 1)


def test_norms_after_the_writers_of_an_image_text_model_are_recorded(project: Path) -> None:
    save_zoo_model("gemma3")
    memory, disk = "model.language_model.layers.1", "language_model.model.layers.1"
    writer = writer_of(pin_base(SOURCE), f"{memory}.mlp.down_proj.weight")
    assert writer.matrix.stored == [StoredLayout(tensor=f"{disk}.mlp.down_proj.weight", axis=0, num_matrices=1)]
    norm = "post_feedforward_layernorm.weight"
    assert writer.norms == [Norm(parameter=f"{memory}.{norm}", tensor=f"{disk}.{norm}", offset=1.0)]


def test_tied_writer_stored_under_another_name_is_located(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test pretends that zamba's shared transformer writes the stream; it writes what its mamba layers read."""
    save_zoo_model("zamba")
    ends = "shared_transf.feed_forward.down_proj.weight"
    first, second = (f"model.layers.{layer}.{ends}" for layer in (1, 3))
    rewrite(lambda old: {second if name == first else name: tensor for name, tensor in old.items()})
    discover(
        monkeypatch,
        lambda discovery: discovery._replace(
            writers=[discovery.writers[0]._replace(parameter=first, layer=1, shared_layers=(3,))]
        ),
    )
    writer = writer_of(pin_base(SOURCE), first)
    assert writer.matrix.stored == [StoredLayout(tensor=second, axis=0, num_matrices=1)]
    assert (writer.layer, writer.shared_layers) == (1, [3])


def test_experts_stored_in_two_dtypes_are_recorded(project: Path) -> None:
    save_zoo_model("mixtral")
    wide = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    rewrite(lambda old: {name: t if name == wide else t.bfloat16() for name, t in old.items()})
    writer = writer_of(pin_base(SOURCE), "model.layers.1.mlp.experts.down_proj")
    assert (writer.dtype, len(writer.matrix.stored)) == ("BF16", 8)


# What is refused


def test_missing_folder_is_refused(project: Path) -> None:
    shutil.rmtree(MODEL)
    assert_refused("there is no such folder")


def test_folder_without_safetensors_is_refused(project: Path) -> None:
    WEIGHTS.unlink()
    assert_refused("neither model.safetensors nor")


def test_pickled_checkpoint_is_refused(project: Path) -> None:
    torch.save(load_file(WEIGHTS), MODEL / "pytorch_model.bin")
    WEIGHTS.unlink()
    assert_refused("only pickled weights")


def test_truncated_shard_is_refused(project: Path) -> None:
    WEIGHTS.write_bytes(WEIGHTS.read_bytes()[:-1])
    assert_refused("its header declares")


def test_corrupted_header_is_refused(project: Path) -> None:
    data = bytearray(WEIGHTS.read_bytes())
    data[8:12] = b"oops"
    WEIGHTS.write_bytes(data)
    assert_refused("damaged safetensors header")


@pytest.mark.parametrize(
    ("shard", "match"), [("gone.safetensors", "which is missing"), ("../x.safetensors", "not a plain file name")]
)
def test_index_that_names_a_missing_shard_is_refused(project: Path, shard: str, match: str) -> None:
    WEIGHTS.unlink()
    index = {"weight_map": {"model.norm.weight": shard}}
    (MODEL / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(match)


def test_missing_writer_is_refused(project: Path) -> None:
    tensors = load_file(WEIGHTS)
    del tensors["model.layers.3.mlp.down_proj.weight"]
    save_file(tensors, WEIGHTS)
    assert_refused(r"no tensor model\.layers\.3\.mlp\.down_proj\.weight")


def test_any_missing_tensor_is_refused_before_the_model_is_loaded(project: Path) -> None:
    rewrite(lambda old: {name: t for name, t in old.items() if "q_proj" not in name and "embed" not in name})
    text = refusal()
    assert "no tensor model.embed_tokens.weight, model.layers.0.self_attn.q_proj.weight, " in text
    assert "… (7 in all)." in text


def test_index_that_leaves_tensors_out_is_refused(project: Path) -> None:
    names = sorted(load_file(WEIGHTS))
    shard = "model-00001-of-00001.safetensors"
    WEIGHTS.rename(MODEL / shard)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    path = MODEL / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    pin_base(SOURCE)  # the control
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))
    assert_refused(r"index leaves out model\.norm\.weight\. Download")


def test_renamed_writer_is_refused_with_the_nearest_name(project: Path) -> None:
    rewrite(lambda old: {name.replace("3.mlp.down_proj", "3.mlp.lower_proj"): t for name, t in old.items()})
    assert_refused(r"no tensor model\.layers\.3\.mlp\.down_proj\..* is model\.layers\.3\.mlp\.lower_proj")


def test_writer_of_another_shape_is_refused(project: Path) -> None:
    name = "model.layers.3.mlp.down_proj.weight"
    rewrite(lambda old: old | {name: old[name][1:].clone()})
    assert_refused(r"model\.layers\.3\.mlp\.down_proj\.weight must have shape .*, got .*\.")


@pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_writer_stored_in_a_dtype_without_exact_edits_is_refused(project: Path, dtype: torch.dtype, name: str) -> None:
    tensor = "model.layers.3.mlp.down_proj.weight"
    rewrite(lambda old: old | {tensor: old[tensor].to(dtype)})
    assert_refused(rf"^model\.layers\.3\.mlp\.down_proj\.weight: .* as {name}; .*unquantized")


def test_single_expert_stored_as_integers_is_refused(project: Path) -> None:
    save_zoo_model("mixtral")
    tensor = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    rewrite(lambda old: old | {tensor: old[tensor].to(torch.int8)})
    assert_refused(r"experts\.3\.w2\.weight: .* as I8")


def test_missing_expert_is_refused(project: Path) -> None:
    save_zoo_model("mixtral")
    tensor = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    rewrite(lambda old: {name: t for name, t in old.items() if name != tensor})
    assert_refused(r"experts\.3\.w2\.weight is missing")


QUANTIZED: list[dict[str, Any]] = [
    {"quant_method": "fp8", "weight_block_size": [128, 128]},
    {"quant_method": "mxfp4"},
    {"quant_method": "gptq", "bits": 4},
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
]


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_quantized_checkpoint_is_refused(project: Path, quantization: dict[str, Any]) -> None:
    change_config(quantization_config=quantization)
    assert_refused(rf"quantized checkpoint \({quantization['quant_method']}\)")


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_quantized_text_part_of_an_image_text_model_is_refused(project: Path, quantization: dict[str, Any]) -> None:
    save_zoo_model("gemma3")
    text = json.loads((MODEL / "config.json").read_text())["text_config"]
    change_config(text_config=text | {"quantization_config": quantization})
    assert_refused(rf"quantized checkpoint \({quantization['quant_method']}\)")


@pytest.mark.parametrize("value", ["", "0", "yes"])
def test_model_that_needs_its_own_code_is_refused_without_permission(
    project: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNWRITE_TRUST_REMOTE_CODE", value)
    (MODEL / "kettle.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    change_config(model_type="kettle", auto_map={"AutoConfig": "kettle.Kettle"})
    assert_refused("UNWRITE_TRUST_REMOTE_CODE=1 if you trust")
    assert not Path("ran").exists()


def test_encoder_with_a_decoder_is_refused(project: Path) -> None:
    from transformers import T5Config

    T5Config(d_model=32, d_ff=48, num_layers=2, num_heads=4, vocab_size=96).save_pretrained(MODEL)
    assert_refused("an encoder and a decoder")


def test_model_without_a_decoder_stack_is_refused(project: Path) -> None:
    config = zoo_config("llama")
    config.num_hidden_layers = 0
    config.save_pretrained(MODEL)
    assert_refused("no decoder stack")


# What cannot be edited exactly

GAPS = ["layer 0: a kettle boils", "layer 1: a cup leaks", "layer 2: a lid sticks", "layer 3: a spout drips"]


@pytest.fixture
def gaps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return reasons, as from discovery, why some of the model cannot be edited."""
    discover(monkeypatch, lambda discovery: discovery._replace(incomplete=GAPS))
    return GAPS


def test_incomplete_discovery_is_refused_with_its_reasons(project: Path, gaps: list[str]) -> None:
    text = refusal()
    assert all(reason in text for reason in gaps[:3])
    assert "and 1 more" in text
    assert "model.allow_incomplete" in text


def test_incomplete_discovery_is_recorded_with_a_warning_if_allowed(
    project: Path, gaps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = pin_base(SOURCE, allow_incomplete=True)
    assert base.incomplete == gaps
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert gaps[0] in warnings[0]


def test_control_complete_discovery_gives_no_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pin_base(SOURCE, allow_incomplete=True).incomplete == []
    assert "warning" not in capsys.readouterr().err


def test_layers_that_are_stored_and_not_run_are_recorded_with_a_warning(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin_base(SOURCE).not_run == []
    name = "model.layers.6.mlp.down_proj.weight"
    rewrite(lambda tensors: tensors | {name: tensors[name.replace("6", "5")].clone()})
    base = pin_base(SOURCE)
    assert base.not_run == ["model.layers.6"]
    assert name not in {writer.matrix.parameter for writer in base.writers}
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "model.layers.6: stored in the checkpoint, but the model does not run it" in warning


def test_model_without_writers_is_refused_even_if_incomplete_is_allowed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover(monkeypatch, lambda discovery: discovery._replace(writers=[], incomplete=GAPS))
    assert_refused("has no writer that can be edited exactly .*a kettle boils", allow_incomplete=True)


# What else is recorded


def test_compute_dtype_can_be_chosen(project: Path) -> None:
    base = pin_base(SOURCE, dtype="float32")
    assert (base.stored_dtype, base.compute_dtype) == ("bfloat16", "float32")


def test_model_that_changed_after_pinning_is_refused(project: Path) -> None:
    base = pin_base(SOURCE)
    data = bytearray(WEIGHTS.read_bytes())
    data[-1] ^= 1
    WEIGHTS.write_bytes(data)
    with pytest.raises(UnwriteError, match=r"sha256 .* was pinned with .*repro -f pin_model"):
        pinned_folder(base)


def test_stored_dtype_is_that_of_the_file_whatever_the_config_claims(project: Path) -> None:
    change_config(dtype="float32")
    base = pin_base(SOURCE)
    assert (base.stored_dtype, base.compute_dtype) == ("bfloat16", "auto")


@pytest.mark.parametrize("allowed", [True, False])
def test_code_is_pinned_only_where_it_may_run(project: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    (MODEL / "modeling_kettle.py").write_text("")
    monkeypatch.setenv("UNWRITE_TRUST_REMOTE_CODE", "1" if allowed else "0")
    base = pin_base(SOURCE)
    assert ("modeling_kettle.py" in {file.name for file in base.files}) == allowed


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that has the demo's model as teaware/kettle, with a pickle beside it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(project / "cache"))
    with connected_hub(monkeypatch) as running:
        files = {path.name: path.read_bytes() for path in MODEL.iterdir() if path.is_file()}
        running.add("teaware/kettle", {**files, "pytorch_model.bin": b"a pickle"})
        yield running


def test_a_hub_model_is_pinned_at_its_commit_with_the_files_of_the_folder(hub: FakeHub) -> None:
    base, local = pin_base("teaware/kettle"), pin_base(SOURCE)
    assert base.commit == hub.repositories["teaware/kettle"].branches["main"]
    assert base == local.model_copy(update={"source": "teaware/kettle", "commit": base.commit})
    assert not hub.count("GET", "pytorch_model.bin")
    assert pinned_folder(base).name == base.commit
    assert pin_base("teaware/kettle", base.commit) == base
    with pytest.raises(UnwriteError, match=r"^teaware/kettle has no revision 'v9'\. Check model\.revision\.$"):
        pin_base("teaware/kettle", "v9")


def test_a_hub_model_with_another_sum_than_the_hub_lists_is_not_pinned(hub: FakeHub) -> None:
    folder = pinned_folder(pin_base("teaware/kettle"))
    weights = (folder / "model.safetensors").resolve()
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UnwriteError, match=r"^model\.safetensors has sha256 .* but the hub lists .* damaged") as error:
        pin_base("teaware/kettle")
    assert "\n" not in str(error.value)
    weights.unlink()
    assert pinned_folder(pin_base("teaware/kettle")) == folder
