"""A cache that copies, remotes that verify nothing and committed credentials are notes with their commands."""

from pathlib import Path

import pytest

from tests.support.workspace import run
from unwrite.doctor.dvc_settings import committed_secrets, examine_dvc, link_finding, remote_findings, stored_twice
from unwrite.projects.create import create_project
from unwrite.projects.new_project import Answers


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "tea"
    create_project(folder, Answers(), plots_page="<p>")
    return folder


def test_a_new_project_has_nothing_to_note(project: Path) -> None:
    assert {finding.severity for finding in examine_dvc(project)} == {"ok"}
    assert not stored_twice(project)


def test_a_cache_set_to_copy_is_a_note(project: Path) -> None:
    run(project, "dvc", "config", "--local", "cache.type", "copy")
    try:
        (link, _) = examine_dvc(project)
        assert stored_twice(project)
    finally:
        run(project, "dvc", "config", "--local", "--unset", "cache.type")
    assert (link.severity, link.remedy) == ("note", "dvc config cache.type reflink,hardlink,copy.")


@pytest.mark.parametrize(
    ("configured", "possible", "severity", "remedy"),
    [
        (("reflink", "copy"), ["reflink", "hardlink"], "ok", ""),
        (("reflink", "copy"), ["hardlink"], "note", "dvc config cache.type"),
        (("reflink", "hardlink", "copy"), ["hardlink"], "ok", ""),
        (("reflink", "hardlink", "copy"), ["symlink"], "note", "dvc cache dir PATH"),
    ],
)
def test_the_remedy_fits_the_disk(configured: tuple[str, ...], possible: list[str], severity: str, remedy: str) -> None:
    found = link_finding(configured, possible)
    assert found.severity == severity
    assert remedy in found.remedy


def test_a_remote_must_verify() -> None:
    plain, verified = remote_findings({"store": {"url": "s3://b"}, "other": {"url": "s3://c", "verify": True}})
    assert (plain.severity, plain.remedy) == ("note", "dvc remote modify store verify true.")
    assert verified.severity == "ok"


def test_no_remote_is_said() -> None:
    (found,) = remote_findings({})
    assert (found.severity, "this machine alone" in found.fact) == ("ok", True)


def test_credentials_in_the_committed_config_are_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    assert list(committed_secrets(config)) == []
    config.write_text("['remote \"store\"']\n    url = s3://b\n    secret_access_key = tea\n")
    (found,) = committed_secrets(config)
    assert "secret_access_key" in found.fact
    assert "--local" in found.remedy
    assert "= tea" not in found.fact


def test_a_folder_without_dvc_stops(tmp_path: Path) -> None:
    (found,) = examine_dvc(tmp_path)
    assert (found.severity, "unwrite init" in found.remedy) == ("stop", True)
