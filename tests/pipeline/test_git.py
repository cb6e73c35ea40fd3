"""The commit, a clean tree and changed files are read from real repositories."""

import subprocess
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.pipeline.git import git_state, uncommitted_changes


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    for name in ("file", "dvc.lock", "artifacts/base.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    git("add", "--all")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "--no-gpg-sign", "-m", "one")
    return tmp_path


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder outside any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.mark.usefixtures("repository")
def test_an_unchanged_tree_is_clean() -> None:
    assert git_state() == (git("rev-parse", "HEAD"), True)
    assert uncommitted_changes() == []


def test_an_untracked_file_leaves_the_tree_clean(repository: Path) -> None:
    (repository / "untracked").write_text("")
    assert git_state().clean is True
    assert uncommitted_changes() == []


def test_files_written_by_the_pipeline_leave_the_tree_clean_but_uncommitted(repository: Path) -> None:
    for name in ("dvc.lock", "artifacts/base.json"):
        (repository / name).write_text("two")
    assert git_state() == (git("rev-parse", "HEAD"), True)
    assert uncommitted_changes() == ["artifacts/base.json", "dvc.lock"]


def test_a_changed_file_makes_the_tree_unclean(repository: Path) -> None:
    (repository / "file").write_text("two")
    assert git_state() == (git("rev-parse", "HEAD"), False)
    assert uncommitted_changes() == ["file"]


def test_in_a_subfolder_the_state_is_that_of_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dvc.lock", "artifacts/base.json"):
        (repository / "example" / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / "example" / name).write_text("one")
    git("add", "--all")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "--quiet", "--no-gpg-sign", "-m", "two")
    monkeypatch.chdir(repository / "example")
    for name in ("dvc.lock", "artifacts/base.json", "../dvc.lock", "../artifacts/base.json"):
        Path(name).write_text("two")
    assert git_state() == (git("rev-parse", "HEAD"), True)
    (repository / "file").write_text("the code that ran")
    assert git_state() == (git("rev-parse", "HEAD"), False)


@pytest.mark.usefixtures("outside")
def test_outside_a_repository_there_is_no_commit() -> None:
    assert git_state() == (None, None)
    with pytest.raises(UnwriteError, match="this is not a git repository, so there is no commit to record"):
        uncommitted_changes()


@pytest.mark.usefixtures("repository")
def test_a_repository_of_another_owner_is_told_with_gits_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    git_state()
    assert caplog.messages == []
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    with pytest.raises(
        UnwriteError, match=r"dubious ownership in repository at '.*'\. If .* safe\.directory '/"
    ) as caught:
        uncommitted_changes()
    assert "\n" not in str(caught.value)
    assert git_state() == (None, None)
    assert [message.startswith("No commit is recorded. git refuses") for message in caplog.messages] == [True]


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == (None, None)
    with pytest.raises(UnwriteError, match="git is not installed, so the commit cannot be recorded"):
        uncommitted_changes()
