"""What git and download tools leave in a release is set aside and said; what a loader could read in there fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.releases import Release, failed, verified
from unwrite.release.set_aside import set_aside
from unwrite.release.verify import verify_release


def downloaded(folder: Path, top: str = ".cache/huggingface") -> Path:
    """Makes what `hf download --local-dir` leaves."""
    place = folder / top
    (place / "download/sub").mkdir(parents=True)
    (place / ".gitignore").write_text("*")
    (place / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    for name in ("config.json", "model.safetensors", "sub/x.jinja"):
        (place / "download" / f"{name}.metadata").write_text("0123\nabc\n1.5\n")
        (place / "download" / f"{name}.lock").write_text("")
    (place / "download/0a1b.incomplete").write_bytes(b"half")
    return place


def git(*arguments: str, folder: Path) -> None:
    """Runs git as somebody."""
    identity = ("-c", "user.name=lab", "-c", "user.email=lab@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("top", [".cache/huggingface", ".huggingface"])
def test_what_a_download_leaves_is_set_aside_and_said(top: str, release: Release) -> None:
    downloaded(release.folder, top)
    found = verified(release)
    assert failed(found) == {}
    files = next(check for check in found.checks if check.name == "files")
    assert files.notes == [f"set aside, as git or a download tool left it: {top}"]


def test_clone_is_verified(release: Release, tmp_path: Path) -> None:
    (release.folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    git("init", "-q", "-b", "model.safetensors", folder=release.folder)  # a branch may be called anything
    git("add", "-A", folder=release.folder)
    git("commit", "-q", "-m", "release", folder=release.folder)
    git("clone", "-q", str(release.folder), "clone", folder=tmp_path)
    found = verify_release(tmp_path / "clone", release.base)
    assert failed(found) == {}
    assert ".git, .gitattributes" in next(check for check in found.checks if check.name == "files").notes[0]


@pytest.mark.parametrize(
    "name",
    [
        ".cache/huggingface/download/model.safetensors",
        ".cache/huggingface/config.json",
        ".cache/model.safetensors",
        ".cache/other/x.metadata",
        ".git/modeling.py",
        ".git/hooks/tokenizer.json",
        ".git/objects/ab/model.safetensors",
    ],
)
def test_what_a_loader_could_read_in_there_fails(name: str, release: Release) -> None:
    downloaded(release.folder)
    (release.folder / ".git/objects").mkdir(parents=True)
    assert failed(verified(release)) == {}
    (release.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (release.folder / name).write_text("x")
    assert failed(verified(release)) == {"files": f"{name} is not what git or a download tool leaves"}


def test_links_and_pipes_in_there_fail(release: Release, tmp_path: Path) -> None:
    place = downloaded(release.folder)
    (place / "download/linked.metadata").symlink_to("/dev/zero")
    os.mkfifo(place / "download/piped.lock")
    assert len(failed(verified(release))["files"].splitlines()) == 2


def test_linked_folder_is_not_set_aside(release: Release, tmp_path: Path) -> None:
    downloaded(tmp_path / "elsewhere")
    (release.folder / ".cache").symlink_to(tmp_path / "elsewhere/.cache")
    assert set_aside(release.folder).names == frozenset()
    assert failed(verified(release)) == {"files": ".cache is a link that leads out of the folder"}
