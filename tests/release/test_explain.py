"""The page states what the manifest, the recipe and the figures state, and says what is missing."""

import json
import re
from pathlib import Path

import pytest

from tests.support.releases import Release, changed_json
from tests.support.samples import sample_evaluation
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.release.explain import explain_release
from unwrite.schema.artifacts import as_json


@pytest.fixture
def folder(release: Release) -> Path:
    return release.folder


def test_page_states_what_was_changed_and_how_much(folder: Path) -> None:
    page = explain_release(folder)
    assert "Base:       base, a local folder" in page
    assert "4 of 30 tensors. Norms (rows): every weight row keeps its norm." in page
    assert "\n  model.layers.*.self_attn.o_proj.weight: 2, λ 0.5 to 0.8\n" in page
    assert "taken at residual index 1.25" in page
    assert re.search(r"^attention +0\.8 +0 +0\.5 +1$", page, re.MULTILINE)
    assert "center mean" in page
    assert re.search(
        r"compute_directions[^:]*:\s+Python 3\.11\.9, torch 2\.6\.0; Linux, x \(AVX2, threads: 4\)$", page, re.MULTILINE
    )
    assert all(len(line) <= 100 for line in page.splitlines())


def test_figures_are_shown_if_the_folder_has_them(folder: Path) -> None:
    assert "This folder has no figures" in explain_release(folder)
    write_json(folder / "evaluation.json", as_json(sample_evaluation()))
    page = explain_release(folder)
    assert "has no figures" not in page
    rate = sample_evaluation().edited.target.behaviour_rate
    assert f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f})" in page
    assert "nats at the first response token" in page


def test_page_states_behaviour_commit_gaps_and_overrides(folder: Path) -> None:
    assert "Behaviour:  not stated in this folder" in explain_release(folder)
    assert "Not run" not in explain_release(folder)
    with changed_json(folder / "provenance.json") as manifest:
        definition = manifest["predicate"]["buildDefinition"]
        definition["externalParameters"]["parameters"]["report"] = {"behaviour": "flatters\nthe user"}
        definition["externalParameters"]["base"] = {"source": "a/b", "commit": "f" * 40}
        definition["internalParameters"] |= {"allowed": ["dirty"], "incomplete": ["layer 2: a gate"], "clean": False}
        definition["internalParameters"] |= {"not_run": ["model.layers.61"]}
        definition["resolvedDependencies"] += [
            {"name": "project", "digest": {"gitCommit": "c" * 40}, "annotations": {"role": "project"}}
        ]
    page = explain_release(folder)
    assert "Behaviour:  flatters the user" in page
    assert f"Base:       a/b, commit {'f' * 40}" in page
    assert "Not edited: layer 2: a gate" in page
    assert "Not run:    model.layers.61: stored, and as in the base" in page
    assert "Published despite: dirty" in page
    assert re.search(rf"Project at commit {'c' * 40}, with uncommitted changes", page)


def test_damaged_or_missing_file_is_named(folder: Path) -> None:
    (folder / "evaluation.json").write_text(json.dumps({"confidence": "x"}))
    with pytest.raises(UnwriteError, match=r"evaluation\.json is not a valid evaluation \(confidence: "):
        explain_release(folder)
    (folder / "edit.json").unlink()
    with pytest.raises(UnwriteError, match=r"has no edit\.json: the release is incomplete"):
        explain_release(folder)
    (folder / "provenance.json").unlink()
    with pytest.raises(UnwriteError, match=r"has no provenance\.json"):
        explain_release(folder)
