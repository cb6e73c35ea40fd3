"""A GGUF file as the model: pinned, edited, verified against the file or a folder made of it, talked to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from dvc.repo import Repo
from safetensors.torch import load_file

from tests.support.gguf_files import LAYERS, WIDTH, write_gguf
from tests.support.releases import flip_bit
from tests.support.samples import KERNEL, sample_settings
from tests.support.small_project import ROOT
from unwrite.cli import main
from unwrite.core.direction_set import compute_directions
from unwrite.editing.recipe import make_recipe
from unwrite.files.records import write_json
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.pinning import pin_base
from unwrite.release.audit import audit_project
from unwrite.release.save import save_edited_checkpoint
from unwrite.schema.artifacts import TrialParameters, as_json, read_base
from unwrite.schema.paths import BASE

FILE = "models/kettle.Q4_1.gguf"
PARAMETERS = TrialParameters(direction_scope="global", direction_index=1.25, position=0, attention=KERNEL, mlp=KERNEL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model is a GGUF file, with a release in `release/`."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("models").mkdir()
        write_gguf(Path(FILE))
        base = pin_base(FILE)
        write_json(BASE, as_json(base))
        generator = torch.Generator().manual_seed(3)
        target, baseline = torch.randn(2, 8, 1, LAYERS + 1, WIDTH, generator=generator)
        directions = compute_directions(target, baseline, orthogonalization="projected")
        recipe = make_recipe(PARAMETERS, base.writers, sample_settings(norm_preservation="rows"))
        save_edited_checkpoint(Path("release"), pinned_folder(base), base, recipe, directions)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unwrite(*arguments: str, lines: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=lines)


def test_the_record_and_the_manifest_say_what_the_base_was_made_of(project: Path) -> None:
    base = read_base()
    assert base.gguf is not None
    assert (base.source, base.commit, base.gguf.name) == (FILE, None, "kettle.Q4_1.gguf")
    assert {file.name for file in base.files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    manifest = json.loads(Path("release/provenance.json").read_text())
    stated = manifest["predicate"]["buildDefinition"]["externalParameters"]["base"]
    assert stated == {
        "source": "kettle.Q4_1.gguf",
        "commit": None,
        "gguf_sha256": base.gguf.sha256,
        "transformers": base.gguf.transformers,
    }
    page = unwrite("explain", "release").stdout
    assert f"Base:       kettle.Q4_1.gguf, a GGUF file (sha256 {base.gguf.sha256[:12]}…) dequantized by" in page


def test_the_release_is_the_folder_with_the_writers_edited(project: Path) -> None:
    folders = (pinned_folder(read_base()), Path("release"))
    before, after = (load_file(folder / "model.safetensors") for folder in folders)
    written = {stored.tensor for writer in read_base().writers for stored in writer.matrix.stored}
    assert {name for name in before if not torch.equal(before[name], after[name])} == written


def test_it_verifies_against_the_file_and_against_a_folder_made_of_it(project: Path) -> None:
    assert unwrite("dequantize", FILE, "base").stdout == "The model is in base.\n"
    shutil.rmtree(".unwrite")
    for base in (FILE, "base"):
        result = unwrite("verify", "release", "--base", base)
        assert result.exit_code == 0, result.output
        assert "VERIFIED: the release is the base plus the declared edit" in result.stdout
        assert "it is the declared one: kettle.Q4_1.gguf, a GGUF file" in result.stdout
    flip_bit(Path("release"), "model.embed_tokens.weight")
    for base in (FILE, "base"):
        assert unwrite("verify", "release", "--base", base).exit_code == 1


def test_another_file_and_another_folder_are_not_its_base(project: Path) -> None:
    data = bytearray(Path(FILE).read_bytes())
    data[-1] ^= 1
    Path("other.gguf").write_bytes(data)
    refused = unwrite("verify", "release", "--base", "other.gguf")
    assert refused.exit_code == 1
    assert "error: other.gguf has sha256" in refused.stderr
    assert "but the release was made from a GGUF file with" in refused.stderr
    unwrite("dequantize", "other.gguf", "other")
    failed = unwrite("verify", "release", "--base", "other")
    assert failed.exit_code == 1
    assert "use that file with that version, or the folder it was made from" in failed.stdout
    assert "none.gguf is missing" in unwrite("verify", "release", "--base", "none.gguf").stderr


@pytest.mark.parametrize("key", ["gguf_sha256", "transformers", "commit", "more"])
def test_a_statement_that_cannot_be_one_fails(project: Path, key: str) -> None:
    path = Path("release/provenance.json")
    manifest = json.loads(path.read_text())
    manifest["predicate"]["buildDefinition"]["externalParameters"]["base"][key] = "" if key == "transformers" else "tea"
    path.write_text(json.dumps(manifest))
    result = json.loads(unwrite("verify", "release", "--json").stdout)
    assert [check["outcome"] for check in result["checks"] if check["name"] == "statement"] == ["failed"]


def test_what_nothing_proves_is_listed(project: Path) -> None:
    result = json.loads(unwrite("verify", "release", "--base", FILE, "--json").stdout)
    fields = {field for one in result["unproven"] for field in one["fields"]}
    assert {"gguf_sha256", "transformers"} <= {field.rpartition(".")[2] for field in fields}


def test_both_models_can_be_talked_to(project: Path) -> None:
    result = unwrite("chat", "--release", "release", "--against", FILE, "--max-tokens", "3", lines="hello\n")
    assert result.exit_code == 0, result.output
    assert [line.split(" ")[0] for line in result.stdout.splitlines()] == [">", "base:", "edited:"]


def test_writers_and_parameters_are_checked_by_the_header_alone(project: Path) -> None:
    shutil.rmtree(".unwrite")
    assert "LlamaForCausalLM: 2 layers, 4 writers" in unwrite("writers", FILE).stdout
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("source: demo/model ", f"source: {FILE} ", 1))
    shutil.copytree(ROOT / "prompts", "prompts")
    assert unwrite("check").stdout == "params.yaml is valid.\n"
    write_gguf(Path(FILE), architecture="rwkv6")
    assert "whose architecture is rwkv6" in unwrite("check").stderr
    assert "whose architecture is rwkv6" in unwrite("writers", FILE).stderr
    Path(FILE).unlink()
    for command in (["check"], ["writers", FILE], ["dequantize", FILE, "new"]):
        assert unwrite(*command).stderr == f"error: {FILE} is missing: expected a GGUF file.\n"
    assert not Path(".unwrite").exists()


def test_an_audit_sees_another_file(project: Path) -> None:
    def named() -> list[str]:
        return [str(finding) for finding in audit_project() if FILE in str(finding)]

    Repo.init(project, no_scm=True).close()
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert named() == []
    write_gguf(Path(FILE), without="output_norm.weight")
    assert len(named()) == 1
