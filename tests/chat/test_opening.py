"""A chat opens with the project's models or a release's, prompted as they were measured; what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.chat.conftest import save_tiny
from tests.support.releases import Release, changed_json, make_release
from tests.support.samples import sample_base
from tests.support.tiny import CHAT_TEMPLATE
from unwrite.chat.opening import load_speakers, project_opening, release_opening
from unwrite.chat.speaker import choose_most_likely
from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.files.records import write_json
from unwrite.models.raw_template import RAW_TEMPLATE
from unwrite.schema.artifacts import as_json
from unwrite.schema.paths import BASE, MODEL

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a pinned base and a merged model, both tiny."""
    monkeypatch.chdir(tmp_path)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["model"]["source"], params["tokenize"]["system_prompt"] = "base", "saucer"
    yaml.dump(params, tmp_path / "params.yaml")
    save_tiny(tmp_path / "base", seed=0)
    save_tiny(tmp_path / MODEL, seed=1)
    files = [digest_of(path, path.name) for path in sorted((tmp_path / "base").iterdir())]
    write_json(BASE, as_json(sample_base(source="base", commit=None, files=files, compute_dtype="bfloat16")))
    return tmp_path


def test_the_projects_models_are_prompted_as_its_parameters_say(project: Path) -> None:
    opening = project_opening(["base", "edited"])
    assert opening.folders == {"base": Path("base"), "edited": MODEL}
    assert opening.prompting.system_prompt == "saucer"
    assert (opening.dtype, opening.threads) == ("bfloat16", 1)
    speakers = load_speakers(opening, max_tokens=3, new_choose=choose_most_likely)
    assert [speaker.name for speaker in speakers] == ["base", "edited"]
    assert {str(speaker.model.dtype) for speaker in speakers} == {"torch.bfloat16"}


def test_one_model_needs_only_its_own_folder(project: Path) -> None:
    shutil.rmtree(project / "base")
    assert project_opening(["edited"]).folders == {"edited": MODEL}
    with pytest.raises(UnwriteError, match="there is no such folder"):
        project_opening(["base"])


def test_a_base_that_is_not_the_pinned_one_is_refused(project: Path) -> None:
    (project / "base/config.json").write_text(json.dumps({}))
    with pytest.raises(UnwriteError, match=r"config\.json"):
        project_opening(["base"])


def test_what_is_missing_is_named_with_what_to_do(project: Path) -> None:
    shutil.rmtree(MODEL)
    with pytest.raises(
        UnwriteError, match=r"^artifacts/model is missing: run `dvc repro merge_model` first, or name a"
    ):
        project_opening(["edited"])
    (project / "params.yaml").unlink()
    with pytest.raises(UnwriteError, match=r"^There is no project here .*unwrite chat --release FOLDER"):
        project_opening(["edited"])


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path)


def test_a_release_is_prompted_as_its_manifest_says(release: Release) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        parameters = manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
        parameters["tokenize"] |= {"system_prompt": "saucer", "response_prefix": "Well"}
    opening = release_opening(str(release.folder), release.base, ["base", "edited"])
    assert opening.folders == {"base": release.base, "edited": release.folder}
    assert opening.prompting[:2] == ("saucer", "Well")
    assert release_opening(str(release.folder), None, ["edited"]).folders == {"edited": release.folder}
    with changed_json(release.folder / "provenance.json") as manifest:
        parameters = manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
        parameters["tokenize"] |= {"today": "soon"}
    with pytest.raises(UnwriteError, match=r"provenance\.json: tokenize\.today is not valid"):
        release_opening(str(release.folder), None, ["edited"])


def test_a_folder_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="not a release made by unwrite"):
        release_opening(str(save_tiny(tmp_path / "model", seed=0)), None, ["edited"])
    with pytest.raises(UnwriteError, match="no such folder"):
        release_opening(str(tmp_path / "none"), None, ["edited"])


OTHER = "<bos> {{ messages[-1].content }} <reply> "


@pytest.mark.parametrize(("template", "text"), [(None, CHAT_TEMPLATE), ("other.jinja", OTHER), ("raw", RAW_TEMPLATE)])
def test_the_projects_template_renders_the_chat(template: str | None, text: str, project: Path) -> None:
    (project / "other.jinja").write_text(OTHER)
    params = YAML().load(project / "params.yaml")
    params["tokenize"]["template"] = template
    YAML().dump(params, project / "params.yaml")
    speakers = load_speakers(project_opening(["base", "edited"]), max_tokens=3, new_choose=choose_most_likely)
    assert [speaker.tokenizer.chat_template for speaker in speakers] == [text, text]


@pytest.mark.parametrize(("template", "text"), [(None, None), ("other.jinja", OTHER), ("raw", RAW_TEMPLATE)])
def test_a_release_is_rendered_with_the_template_that_it_brings(
    template: str | None, text: str | None, release: Release
) -> None:
    with changed_json(release.folder / "provenance.json") as manifest:
        parameters = manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
        parameters["tokenize"] |= {"template": template}
    if template == "other.jinja":
        with pytest.raises(UnwriteError, match=r"prompt_template\.jinja cannot be read .*download the release again"):
            release_opening(str(release.folder), None, ["edited"])
        (release.folder / "prompt_template.jinja").write_text(OTHER)
    assert release_opening(str(release.folder), None, ["edited"]).template == text


def test_a_sets_own_system_prompt_is_sent(project: Path, release: Release) -> None:
    params = YAML().load(project / "params.yaml")
    params["tokenize"]["baseline"] = {"source": "x.csv", "system_prompt": "spoon"}
    YAML().dump(params, project / "params.yaml")
    assert project_opening(["edited"]).prompting.system_prompt == "saucer"
    assert project_opening(["edited"], "baseline").prompting.system_prompt == "spoon"
    with changed_json(release.folder / "provenance.json") as manifest:
        parameters = manifest["predicate"]["buildDefinition"]["externalParameters"]["parameters"]
        parameters["tokenize"] |= {"baseline": {"source": "x.csv", "system_prompt": "kettle"}}
    assert release_opening(str(release.folder), None, ["edited"], "baseline").prompting.system_prompt == "kettle"
    with pytest.raises(UnwriteError, match=r"params\.yaml has no prompt set none; it has target, baseline"):
        project_opening(["edited"], "none")
