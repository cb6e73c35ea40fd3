"""Sources: local folders, and hub ids without a hub: a cache laid out by hand, and the hub's own errors."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from unwrite.errors import UnwriteError
from unwrite.models.source import Source, locate, resolve_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "teaware/kettle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, offline, and a working folder with nothing in it."""
    assert constants.HF_HUB_OFFLINE
    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return hub


def lay_out(cache: Path, revision: str = "main") -> Path:
    """The hub's cache as it is after a download: refs name commits, snapshots hold files."""
    repository = cache / "models--teaware--kettle"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT)
    return snapshot


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    assert resolve_source(str(tmp_path), None) == Source(tmp_path, None)
    assert locate(str(tmp_path), None) == tmp_path


def test_a_folder_that_looks_like_a_hub_id_is_a_folder() -> None:
    Path("teaware/kettle").mkdir(parents=True)
    assert resolve_source(REPOSITORY, None) == Source(Path(REPOSITORY), None)


def test_a_revision_of_a_local_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"model\.revision is 'v1', .* is a local folder: set revision to null"):
        resolve_source(str(tmp_path), "v1")


@pytest.mark.parametrize(
    "source",
    [
        "/nowhere/at/all",
        "./kettle",
        "../kettle",
        "~/kettle",
        "kettle",
        "a/b/c",
        "teaware/ke ttle",
        "teaware/",
        "/kettle",
    ],
)
def test_neither_a_folder_nor_a_hub_id(source: str) -> None:
    with pytest.raises(UnwriteError, match=r"no such folder, and it is no hub id \(organisation/name\)") as error:
        resolve_source(source, None)
    assert repr(source) in str(error.value)


def test_a_missing_folder_in_one_that_exists_is_not_looked_for_on_the_hub() -> None:
    Path("teaware").mkdir()
    with pytest.raises(UnwriteError, match="there is no such folder"):
        resolve_source(REPOSITORY, None)


def test_a_file_is_no_folder() -> None:
    Path("teaware").mkdir()
    Path(REPOSITORY).write_text("no model")
    with pytest.raises(UnwriteError, match="there is no such folder"):
        resolve_source(REPOSITORY, None)


def test_the_cache_resolves_to_its_commit_offline(cache: Path) -> None:
    snapshot = lay_out(cache)
    assert resolve_source(REPOSITORY, None) == Source(snapshot, COMMIT)
    assert resolve_source(REPOSITORY, "main") == Source(snapshot, COMMIT)
    assert resolve_source(REPOSITORY, COMMIT) == Source(snapshot, COMMIT)
    assert locate(REPOSITORY, COMMIT) == snapshot


def test_a_tag_in_the_cache(cache: Path) -> None:
    snapshot = lay_out(cache, "v1")
    assert resolve_source(REPOSITORY, "v1") == Source(snapshot, COMMIT)
    with pytest.raises(UnwriteError, match="its default branch"):
        resolve_source(REPOSITORY, None)


def test_offline_with_nothing_in_the_cache() -> None:
    with pytest.raises(
        UnwriteError, match=r"^Can't get teaware/kettle at v1 from the hub \(.+\): check the network"
    ) as error:
        resolve_source(REPOSITORY, "v1")
    assert "\n" not in str(error.value)


# The HTTP library below the hub's own, which changes between its versions.
http = importlib.import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])


def response(status: int) -> Any:
    return http.Response(status, request=http.Request("GET", "https://hub.invalid/teaware"))


HUB_ERRORS: dict[str, tuple[Callable[[], Exception], str]] = {
    "gated": (lambda: errors.GatedRepoError("401", response=response(401)), "at v1 is gated: accept its terms"),
    "unknown or private": (
        lambda: errors.RepositoryNotFoundError("404", response=response(404)),
        "The hub has no teaware/kettle, or it is private",
    ),
    "unknown revision": (
        lambda: errors.RevisionNotFoundError("404", response=response(404)),
        "teaware/kettle has no revision 'v1': check model.revision",
    ),
    "server error": (
        lambda: errors.HfHubHTTPError("503 \n busy", response=response(503)),
        "from the hub (503 busy): check the network",
    ),
    "no connection": (lambda: http.ConnectError("no route"), "(no route): check the network"),
    "too slow": (lambda: http.ReadTimeout(""), "(ReadTimeout): check the network"),
    "nothing cached": (lambda: errors.LocalEntryNotFoundError("nothing cached"), "(nothing cached): check the network"),
    "disk full": (lambda: OSError(28, "No space left on device"), "No space left on device"),
}


@pytest.mark.parametrize("case", HUB_ERRORS)
def test_what_the_hub_raises_is_said_in_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, expected = HUB_ERRORS[case]

    def fail(*_: object, **__: object) -> str:
        raise make()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UnwriteError) as error:
        resolve_source(REPOSITORY, "v1")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_pickles_and_code_are_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fnmatch import fnmatch

    asked: list[str] = []

    def download(_repository: str, *, allow_patterns: list[str], **__: object) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path / COMMIT)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_source(REPOSITORY, None).commit == COMMIT

    def wanted(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in asked)

    assert all(map(wanted, ["model-00001-of-00002.safetensors", "config.json", "chat_template.jinja", "LICENSE"]))
    assert not any(map(wanted, ["pytorch_model.bin", "modeling_kettle.py", "training_args.pt", "model.gguf"]))
