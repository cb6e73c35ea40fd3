import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.pin_model import pin_model
from unwrite.artifacts import Base
from unwrite.errors import UnwriteError
from unwrite.params import Params

MODEL = Path("demo/model")
WEIGHTS = MODEL / "model.safetensors"


def repin(project: Path, params: Params) -> None:
    (project / "artifacts/base.json").unlink()
    pin_model(params)


def assert_refused(project: Path, params: Params, match: str) -> None:
    with pytest.raises(UnwriteError, match=match):
        repin(project, params)
    assert not (project / "artifacts/base.json").exists()


def test_base_lists_every_file_and_every_writer(project: Path) -> None:
    base = Base.model_validate_json((project / "artifacts/base.json").read_bytes())
    digests = {file.name: file.sha256 for file in base.files}
    assert set(digests) == {path.name for path in (project / MODEL).iterdir()}
    assert digests["model.safetensors"] == hashlib.sha256((project / WEIGHTS).read_bytes()).hexdigest()
    expected = {
        f"model.layers.{layer}.{module}.weight"
        for layer in range(6)
        for module in ("self_attn.o_proj", "mlp.down_proj")
    }
    assert {writer.parameter for writer in base.writers} == expected
    assert {w.component for w in base.writers if "o_proj" in w.parameter} == {"attention"}
    assert (base.layers, base.commit, base.compute_dtype) == (6, None, "bfloat16")


def test_missing_folder(project: Path, params: Params) -> None:
    shutil.rmtree(MODEL)
    assert_refused(project, params, "there is no such folder")


def test_no_safetensors(project: Path, params: Params) -> None:
    WEIGHTS.unlink()
    assert_refused(project, params, "neither model.safetensors nor")


def test_pickled_checkpoint(project: Path, params: Params) -> None:
    torch.save(load_file(WEIGHTS), MODEL / "pytorch_model.bin")
    WEIGHTS.unlink()
    assert_refused(project, params, "only pickled weights")


def test_truncated_shard(project: Path, params: Params) -> None:
    WEIGHTS.write_bytes(WEIGHTS.read_bytes()[:-1])
    assert_refused(project, params, "its header declares")


def test_corrupted_header(project: Path, params: Params) -> None:
    data = bytearray(WEIGHTS.read_bytes())
    data[8:12] = b"oops"
    WEIGHTS.write_bytes(data)
    assert_refused(project, params, "damaged safetensors header")


@pytest.mark.parametrize(
    ("shard", "match"), [("gone.safetensors", "which is missing"), ("../x.safetensors", "not a plain file name")]
)
def test_index_that_names_what_is_not_there(project: Path, params: Params, shard: str, match: str) -> None:
    WEIGHTS.unlink()
    index = {"weight_map": {"model.norm.weight": shard}}
    (MODEL / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(project, params, match)


def test_checkpoint_without_a_writer(project: Path, params: Params) -> None:
    tensors = load_file(WEIGHTS)
    del tensors["model.layers.3.mlp.down_proj.weight"]
    save_file(tensors, WEIGHTS)
    assert_refused(project, params, r"no tensor model\.layers\.3\.mlp\.down_proj\.weight")


def test_writer_of_another_shape(project: Path, params: Params) -> None:
    tensors = load_file(WEIGHTS)
    name = "model.layers.3.mlp.down_proj.weight"
    tensors[name] = tensors[name][1:].clone()
    save_file(tensors, WEIGHTS)
    assert_refused(project, params, "config.json says")


def test_quantized_checkpoint(project: Path, params: Params) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    (MODEL / "config.json").write_text(json.dumps(config))
    assert_refused(project, params, r"quantized checkpoint \(fp8\)")


def test_compute_dtype_can_be_chosen(project: Path, params: Params) -> None:
    wide = params.model_copy(update={"model": params.model.model_copy(update={"dtype": "float32"})})
    repin(project, wide)
    base = Base.model_validate_json((project / "artifacts/base.json").read_bytes())
    assert (base.stored_dtype, base.compute_dtype) == ("bfloat16", "float32")


def test_a_changed_model_is_refused_downstream(project: Path, params: Params) -> None:
    from unwrite.pinned import pinned_folder, read_base

    data = bytearray(WEIGHTS.read_bytes())
    data[-1] ^= 1
    WEIGHTS.write_bytes(data)
    with pytest.raises(UnwriteError, match=r"sha256 .* was pinned with .*repro -f pin_model"):
        pinned_folder(read_base())


def test_the_dtype_is_what_the_file_holds_whatever_the_config_claims(project: Path, params: Params) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    (MODEL / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    repin(project, params)
    base = Base.model_validate_json((project / "artifacts/base.json").read_bytes())
    assert (base.stored_dtype, base.compute_dtype) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize("allowed", [True, False])
def test_code_is_pinned_where_it_may_run(
    project: Path, params: Params, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    (MODEL / "modeling_kettle.py").write_text("")
    monkeypatch.setenv("UNWRITE_TRUST_REMOTE_CODE", "1" if allowed else "0")
    repin(project, params)
    base = Base.model_validate_json((project / "artifacts/base.json").read_bytes())
    assert ("modeling_kettle.py" in {file.name for file in base.files}) == allowed
