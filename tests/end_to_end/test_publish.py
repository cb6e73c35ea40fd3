"""Publishing, end to end: what is published, what is refused, and that tampering is detected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils._http import close_session

from tests.support.fake_hub import NAMESPACE, TOKEN, fake_hub
from tests.support.keys import key_pair
from tests.support.releases import changed_json, flip_bit
from tests.support.workspace import ORDER, commit, is_up_to_date, run, set_parameter, unwrite
from unwrite.chat.opening import release_opening
from unwrite.release.manifest import read_manifest
from unwrite.release.statement import Manifest
from unwrite.schema.evaluation import Evaluation

RELEASE = Path("release")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub library's own


def publish(folder: Path, *arguments: str, expect: int = 0) -> str:
    return unwrite(folder, "publish", "--folder", str(RELEASE), *arguments, expect=expect)


def verify(folder: Path, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Return the report of `unwrite verify` on the release, run outside the project."""
    command = ("verify", str(folder / RELEASE), "--base", str(folder / "demo/model"), "--json")
    values: dict[str, Any] = json.loads(unwrite(folder.parent, *command, *arguments, expect=expect))
    return values


def tamper(path: Path, text: str) -> None:
    """Replace a file that may be a link into DVC's cache."""
    path.unlink()
    path.write_text(text)


def listed(manifest: Manifest, role: Any) -> set[str]:
    return {one.name for one in manifest.dependencies(role)}


def test_release_has_all_that_a_stranger_needs_and_verifies(workspace: Path) -> None:
    assert "It is verified against its base." in publish(workspace)
    folder = workspace / RELEASE
    model = {path.name for path in (workspace / "artifacts/model").iterdir()}
    assert {path.name for path in folder.iterdir()} == model | {
        "README.md",
        "evaluation.json",
        "params.yaml",
        "dvc.lock",
    }
    found = verify(workspace)
    assert (found["passed"], found["complete"], found["rounded_numbers"]) == (True, True, 0)
    manifest = read_manifest(folder)
    assert {subject.name for subject in manifest.subject} == {path.name for path in folder.iterdir()} - {
        "provenance.json"
    }
    assert listed(manifest, "input") == {
        "prompts/teaware.jsonl",
        "prompts/ordinary.jsonl",
        "prompts/near_misses.jsonl",
        "prompts/declines.txt",
    }
    assert listed(manifest, "artifact") >= {
        "artifacts/tokens/target.train.jsonl",
        "artifacts/residuals/target.train.safetensors",
        "artifacts/directions.safetensors",
        "artifacts/trials.csv",
        "artifacts/edit.json",
        "artifacts/evaluation.json",
    }
    assert list(manifest.internal.stages) == ORDER
    assert manifest.internal.clean is True
    assert manifest.internal.allowed == []
    (project,) = manifest.dependencies("project")
    assert project.digest["gitCommit"] == run(workspace, "git", "rev-parse", "HEAD").strip()
    assert str(workspace) not in (folder / "provenance.json").read_text()


def test_a_release_brings_the_chat_template_that_is_not_the_models_own(
    workspace: Path, warm: Mapping[str, str]
) -> None:
    own = (workspace / "demo/model/chat_template.jinja").read_text()
    (workspace / "prompts/other.jinja").write_text(f"{{#- another -#}}{own}")
    set_parameter(workspace, "tokenize", "template", value="prompts/other.jinja")
    run(workspace, "dvc", "repro", environment=warm)
    commit(workspace)
    publish(workspace)
    assert (workspace / RELEASE / "prompt_template.jinja").read_text() == f"{{#- another -#}}{own}"
    assert verify(workspace)["passed"]
    assert "prompts/other.jinja" in listed(read_manifest(workspace / RELEASE), "input")
    opening = release_opening(str(workspace / RELEASE), None, ["edited"])
    assert opening.template == f"{{#- another -#}}{own}"


def test_merged_model_verifies_before_it_is_published(workspace: Path) -> None:
    unwrite(workspace, "verify", "artifacts/model", "--base", "demo/model")
    assert "This folder has no figures" in unwrite(workspace, "explain", "artifacts/model")


def test_explain_and_card_state_the_figures_of_the_evaluation(workspace: Path) -> None:
    publish(workspace)
    evaluation = Evaluation.model_validate_json((workspace / "artifacts/evaluation.json").read_text())
    page = unwrite(workspace, "explain", str(RELEASE))
    assert "Behaviour:  declines questions about tea and teaware" in page
    assert f"{evaluation.kl_response:.3g}"[:5] in page
    card = ModelCard.load(workspace / RELEASE / "README.md")
    results = {(one.dataset_config, one.metric_type): one.metric_value for one in card.data.eval_results or []}
    assert results["target", "behaviour_rate"] == evaluation.edited.target.behaviour_rate.value
    assert results["baseline", "kl_response"] == evaluation.kl_response
    assert card.data.license == "apache-2.0"


def test_signed_release_passes_with_the_key_until_a_file_changes(workspace: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    publish(workspace, "--sign", str(private))
    checks = {check["name"]: check["outcome"] for check in verify(workspace, "--key", str(public))["checks"]}
    assert checks["signature"] == "passed"
    assert verify(workspace)["passed"]  # without the key, all but the signature
    (workspace / RELEASE / "README.md").write_text("another card")
    checks = {c["name"]: c["outcome"] for c in verify(workspace, "--key", str(public), expect=1)["checks"]}
    assert (checks["signature"], checks["files"]) == ("failed", "failed")


def test_notes_of_the_publisher_end_the_card(workspace: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Ada answers for this release.\n")
    publish(workspace, "--notes", str(notes))
    made = (workspace / "artifacts/card/README.md").read_text().rstrip()
    card = (workspace / RELEASE / "README.md").read_text()
    assert card == f"{made}\n\n## Publisher's notes\n\nAda answers for this release.\n"
    assert verify(workspace)["passed"]
    assert "nowhere.md cannot be read" in publish(workspace, "--notes", "nowhere.md", expect=1)


def test_uncommitted_changes_are_refused_and_an_override_is_recorded(workspace: Path) -> None:
    with (workspace / "README.txt").open("w") as file:
        file.write("an untracked file is allowed")
    publish(workspace)
    with (workspace / "prompts/README.md").open("a") as file:
        file.write("\n")
    message = publish(workspace, expect=1)
    assert "Not published: uncommitted changes in prompts/README.md." in message
    assert "--allow dirty" in message
    assert "Published despite: dirty." in publish(workspace, "--allow", "dirty")
    manifest = read_manifest(workspace / RELEASE)
    assert manifest.internal.allowed == ["dirty"]
    assert manifest.internal.clean is False
    assert "Published despite: dirty" in unwrite(workspace, "explain", str(RELEASE))
    assert verify(workspace)["passed"]


def test_stale_stage_is_refused(workspace: Path) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("quantile: 0.995", "quantile: 0.9"))
    commit(workspace)
    assert "compute_directions is out of date" in publish(workspace, expect=1)
    refused = publish(workspace, "--allow", "stale", expect=1)
    assert "directions.winsorize differs between the manifest and params.yaml" in refused
    publish(workspace, "--allow", "stale", "--allow", "unverified")
    assert read_manifest(workspace / RELEASE).internal.allowed == ["stale", "unverified"]


def test_figures_edited_by_hand_are_refused_although_dvc_committed_them(workspace: Path) -> None:
    path = workspace / "artifacts/evaluation.json"
    with changed_json(path) as evaluation:
        evaluation["edited"]["target"]["behaviour_rate"]["value"] = 0.0
    run(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    assert is_up_to_date(workspace)
    assert "artifacts/evaluation.json is not what the stage wrote when it ran" in unwrite(workspace, "audit", expect=1)
    message = publish(workspace, expect=1)
    assert "artifacts/evaluation.json is not what the stage wrote" in message
    assert "--allow altered" in message


def test_weights_edited_by_hand_are_refused_although_dvc_committed_them(workspace: Path) -> None:
    weights = workspace / "artifacts/model/model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data)
    flip_bit(weights.parent, "model.layers.0.self_attn.q_proj.weight")
    run(workspace, "dvc", "commit", "--force", "--quiet")
    commit(workspace)
    assert "model.safetensors is not the one in the manifest" in unwrite(workspace, "audit", expect=1)
    assert "model.safetensors is not the one in the manifest" in publish(workspace, expect=1)
    message = publish(workspace, "--allow", "altered", expect=1)
    assert "model.layers.0.self_attn.q_proj.weight differs from the base" in message
    assert not (workspace / RELEASE).exists()
    publish(workspace, "--allow", "altered", "--allow", "unverified")
    assert read_manifest(workspace / RELEASE).internal.allowed == ["altered", "unverified"]
    assert not verify(workspace, expect=1)["passed"]


def test_audit_finds_directions_edited_by_hand(workspace: Path) -> None:
    tamper(workspace / "artifacts/directions.safetensors", "by hand")
    run(workspace, "dvc", "commit", "--force", "--quiet", "compute_directions")
    assert "directions.safetensors is not what the stage wrote" in unwrite(workspace, "audit", expect=1)


def test_paths_that_reveal_the_machine_are_refused(workspace: Path, tmp_path: Path) -> None:
    shutil.copy(workspace / "prompts/declines.txt", tmp_path)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("prompts/declines.txt", f"{tmp_path}/declines.txt"))
    commit(workspace)
    assert f"params.yaml names {tmp_path}/declines.txt" in publish(workspace, "--allow", "stale", expect=1)


def test_folder_with_other_files_is_not_overwritten(workspace: Path) -> None:
    (workspace / RELEASE).mkdir()
    (workspace / RELEASE / "thesis.tex").write_text("years of work")
    assert "release contains thesis.tex, which is not part of a release" in publish(workspace, expect=1)
    assert (workspace / RELEASE / "thesis.tex").exists()


def test_release_is_replaced_unless_it_contains_other_files(workspace: Path) -> None:
    publish(workspace)
    publish(workspace)
    (workspace / RELEASE / ".git").mkdir()
    assert "release contains .git, which is not part of a release and would be lost" in publish(workspace, expect=1)
    assert verify(workspace)["passed"] is True  # what git leaves is set aside
    (workspace / RELEASE / ".git").rename(workspace / RELEASE / "notes")
    assert "release contains notes, which is not part of a release" in publish(workspace, expect=1)
    assert verify(workspace, expect=1)["passed"] is False  # a folder that the manifest doesn't list


@pytest.mark.parametrize("target", [".", "..", "artifacts", "artifacts/model", "artifacts/new", "demo/model", "demo"])
def test_nothing_is_published_over_the_project_or_the_base(target: str, workspace: Path) -> None:
    before = (workspace / "artifacts/model/provenance.json").read_bytes()
    message = unwrite(workspace, "publish", "--folder", target, expect=1)
    assert "choose another folder" in message
    assert (workspace / "artifacts/model/provenance.json").read_bytes() == before


def test_file_changed_after_the_audit_is_not_published(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + (b" " if source.name == "evaluation.json" else b""))

    monkeypatch.setattr("unwrite.release.publish.copy_file", copied)
    assert "artifacts/evaluation.json is not what a stage wrote" in publish(workspace, expect=1)
    assert not (workspace / RELEASE).exists()


def test_uploaded_files_are_the_verified_ones(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{NAMESPACE}/edited"
    close_session()
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert "Published: " in unwrite(workspace, "publish", "--repository", name)
        publish(workspace)
        files = hub.repositories[name].files()
        assert not hub.repositories[name].private
        for path in (workspace / RELEASE).iterdir():
            assert files[path.name] == path.read_bytes()
    assert not (workspace / ".unwrite/publish").exists()
