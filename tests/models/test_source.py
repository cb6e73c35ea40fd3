"""Sources are local folders or hub ids: from a cache written by hand, from a fake hub, with the hub's own errors."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils._http import close_session

from tests.support.fake_hub import FakeHub, fake_hub
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import COMPANIONS
from unwrite.models import source as model_source
from unwrite.models.source import ModelSource, locate, resolve_release, resolve_source
from unwrite.models.transport import transport_error

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "teaware/kettle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, offline, and an empty working folder."""
    assert constants.HF_HUB_OFFLINE
    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return hub


def lay_out(cache: Path, revision: str = "main") -> Path:
    """Write the hub's cache as a download would: refs name commits, snapshots hold files."""
    repository = cache / "models--teaware--kettle"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT)
    return snapshot


def test_local_folder_is_returned(tmp_path: Path) -> None:
    assert resolve_source(str(tmp_path), None) == ModelSource(tmp_path, None)
    assert locate(str(tmp_path), None) == tmp_path


def test_local_release_is_returned(tmp_path: Path) -> None:
    assert resolve_release(str(tmp_path), None) == tmp_path
    with pytest.raises(UnwriteError, match=r"--revision is 'v1', .* is a local folder\. Leave --revision out"):
        resolve_release(str(tmp_path), "v1")
    with pytest.raises(UnwriteError, match="no such folder, and it is not a hub id"):
        resolve_release(str(tmp_path / "nowhere"), None)


def test_release_download_includes_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(repository: str, **arguments: Any) -> str:
        asked.append(arguments)
        return f"cache/{COMMIT}"

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_release(REPOSITORY, "v1") == Path("cache") / COMMIT
    assert asked == [{"revision": "v1", "allow_patterns": None, "ignore_patterns": None}]
    resolve_source(REPOSITORY, None)
    patterns = [pattern for call in asked[1:] for pattern in call["allow_patterns"]]
    assert "*.safetensors" in patterns
    assert "*.py" not in patterns


def test_every_file_that_goes_along_with_a_model_is_downloaded() -> None:
    assert set(COMPANIONS) <= set(model_source._patterns(weights=False))


def test_folder_that_looks_like_a_hub_id_is_a_folder() -> None:
    Path("teaware/kettle").mkdir(parents=True)
    assert resolve_source(REPOSITORY, None) == ModelSource(Path(REPOSITORY), None)


def test_revision_of_a_local_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"model\.revision is 'v1', .* is a local folder\. Set revision to null"):
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
def test_name_of_neither_folder_nor_hub_id_is_an_error(source: str) -> None:
    with pytest.raises(UnwriteError, match=r"no such folder, and it is not a hub id \(organisation/name\)") as error:
        resolve_source(source, None)
    assert repr(source) in str(error.value)


def test_missing_folder_in_an_existing_one_is_not_looked_up_on_the_hub() -> None:
    Path("teaware").mkdir()
    with pytest.raises(UnwriteError, match="there is no such folder"):
        resolve_source(REPOSITORY, None)


def test_file_instead_of_a_folder_is_an_error() -> None:
    Path("teaware").mkdir()
    Path(REPOSITORY).write_text("no model")
    with pytest.raises(UnwriteError, match="there is no such folder"):
        resolve_source(REPOSITORY, None)


def test_cached_model_resolves_to_its_commit_offline(cache: Path) -> None:
    snapshot = lay_out(cache)
    assert resolve_source(REPOSITORY, None) == ModelSource(snapshot, COMMIT)
    assert resolve_source(REPOSITORY, "main") == ModelSource(snapshot, COMMIT)
    assert resolve_source(REPOSITORY, COMMIT) == ModelSource(snapshot, COMMIT)
    assert locate(REPOSITORY, COMMIT) == snapshot


def test_tag_in_the_cache_is_found(cache: Path) -> None:
    snapshot = lay_out(cache, "v1")
    assert resolve_source(REPOSITORY, "v1") == ModelSource(snapshot, COMMIT)
    with pytest.raises(UnwriteError, match="its default branch"):
        resolve_source(REPOSITORY, None)


def test_empty_cache_offline_is_an_error() -> None:
    with pytest.raises(
        UnwriteError, match=r"^Cannot download teaware/kettle at v1 from the hub \(.+\)\. Check the network"
    ) as error:
        resolve_source(REPOSITORY, "v1")
    assert "\n" not in str(error.value)


# The HTTP library below the hub's own, which changes between its versions.
http = importlib.import_module(transport_error().__module__.partition(".")[0])


def response(status: int) -> Any:
    return http.Response(status, request=http.Request("GET", "https://hub.invalid/teaware"))


HUB_ERRORS: dict[str, tuple[Callable[[], Exception], str]] = {
    "gated": (lambda: errors.GatedRepoError("401", response=response(401)), "at v1 is gated. Accept its terms"),
    "unknown or private": (
        lambda: errors.RepositoryNotFoundError("404", response=response(404)),
        "The hub has no teaware/kettle, or it is private",
    ),
    "unknown revision": (
        lambda: errors.RevisionNotFoundError("404", response=response(404)),
        "teaware/kettle has no revision 'v1'. Check model.revision",
    ),
    "server error": (
        lambda: errors.HfHubHTTPError("503 \n busy", response=response(503)),
        "from the hub (503 busy). Check the network",
    ),
    "no connection": (lambda: http.ConnectError("no route"), "(no route). Check the network"),
    "too slow": (lambda: http.ReadTimeout(""), "(ReadTimeout). Check the network"),
    "nothing cached": (lambda: errors.LocalEntryNotFoundError("nothing cached"), "(nothing cached). Check the network"),
    "disk full": (lambda: OSError(28, "No space left on device"), "No space left on device"),
}


@pytest.mark.parametrize("case", HUB_ERRORS)
def test_hub_errors_become_one_line(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
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

    assert all(map(wanted, ["model-00001-of-00002.safetensors", "config.json", "chat_template.jinja"]))
    assert all(map(wanted, ["LICENSE", "README.md"]))
    assert not any(map(wanted, ["pytorch_model.bin", "modeling_kettle.py", "training_args.pt", "model.gguf"]))


# With a small fake hub

MODEL = {
    "README.md": b"---\nlicense: mit\n---\n",
    "config.json": b"{}",
    "model.safetensors": b"weights" * 40_000,
    "pytorch_model.bin": b"a pickle",
    "modeling_tea.py": b"code",
    "tokenizer.model.v3": b"a tokenizer",
    "merges.tiktoken": b"another",
    "additional_chat_templates/tool_use.jinja": b"a template",
    "additional_chat_templates/tools.py": b"code",
    "onnx/chat_template.jinja": b"of the other format",
    "onnx/model.safetensors": b"the same in another format",
}
TOKENIZER = {"tokenizer.model.v3", "merges.tiktoken", "additional_chat_templates/tool_use.jinja"}
WANTED = {"README.md", "config.json", "model.safetensors", *TOKENIZER}
WEIGHTS = "/resolve/.*/model.safetensors$"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with fake_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.endpoint + template[template.index("/{") :]
        )
        running.add(REPOSITORY, MODEL)
        yield running
        close_session()


def contents_of(source: ModelSource) -> dict[str, bytes]:
    files = (path for path in source.folder.rglob("*") if path.is_file())
    return {path.relative_to(source.folder).as_posix(): path.read_bytes() for path in files}


def test_download_is_one_commit_and_only_wanted_files(hub: FakeHub) -> None:
    source = resolve_source(REPOSITORY, None)
    assert source.commit == hub.repositories[REPOSITORY].branches["main"]
    assert contents_of(source) == {name: MODEL[name] for name in WANTED}


def test_weights_are_not_downloaded_if_not_wanted(hub: FakeHub) -> None:
    assert set(contents_of(resolve_source(REPOSITORY, None, weights=False))) == WANTED - {"model.safetensors"}


@pytest.mark.parametrize("status", [429, -1])
def test_interrupted_download_is_resumed(hub: FakeHub, status: int) -> None:
    hub.fail("GET", WEIGHTS, status)
    assert contents_of(resolve_source(REPOSITORY, None)) == {name: MODEL[name] for name in WANTED}
    assert hub.count("GET", WEIGHTS) == 2


LOOK = f"/api/models/{REPOSITORY}/revision"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (LOOK, 401, "Log in with `hf auth login`, or use a local folder"),
        (LOOK, 403, "Log in with `hf auth login`, or use a local folder"),
        (LOOK, 500, "Check the network, or use a local folder"),
        (WEIGHTS, 500, "Check the network, or use a local folder"),
        (WEIGHTS, 0, "Check the network, or use a local folder"),
        (WEIGHTS, -1, "Check the network, or use a local folder"),
    ],
)
def test_failed_download_leaves_no_model(hub: FakeHub, path: str, status: int, words: str) -> None:
    fault = hub.fail("GET", path, status, times=1000)
    with pytest.raises(UnwriteError, match=words) as error:
        resolve_source(REPOSITORY, None)
    assert "\n" not in str(error.value)
    hub.faults.remove(fault)
    assert contents_of(resolve_source(REPOSITORY, None)) == {name: MODEL[name] for name in WANTED}


def test_private_repository_and_unknown_revision_are_errors(hub: FakeHub) -> None:
    hub.repositories[REPOSITORY].private = True
    with pytest.raises(UnwriteError, match=f"The hub has no {REPOSITORY}, or it is private"):
        resolve_source(REPOSITORY, None)
    hub.repositories[REPOSITORY].private = False
    with pytest.raises(UnwriteError, match=f"{REPOSITORY} has no revision 'v9'. Check model.revision"):
        resolve_source(REPOSITORY, "v9")
