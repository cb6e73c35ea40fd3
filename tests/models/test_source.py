"""Sources are local folders or hub ids: from a cache written by hand, from a fake hub, with the hub's own errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from tests.support.connected_hub import connected_hub
from tests.support.fake_hub import FakeHub
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import COMPANIONS
from unwrite.models import source as model_source
from unwrite.models.source import ModelSource, locate, resolve_release, resolve_source

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
    (snapshot / "model.safetensors").write_bytes(b"weights")
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
    assert [{name: asked[0][name] for name in ("revision", "allow_patterns", "ignore_patterns")}] == [
        {"revision": "v1", "allow_patterns": None, "ignore_patterns": None}
    ]
    resolve_source(REPOSITORY, None, weights=False)
    assert "*.safetensors" not in asked[1]["allow_patterns"]
    monkeypatch.setattr(model_source, "_refuse_other_formats", lambda *_: None)
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
        UnwriteError, match=r"^teaware/kettle at v1 is not in the hub's cache \(.+\), .*HF_HUB_OFFLINE is set\. Unset"
    ) as error:
        resolve_source(REPOSITORY, "v1")
    assert "\n" not in str(error.value)


def test_pickles_and_code_are_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from fnmatch import fnmatch

    asked: list[str] = []

    def download(_repository: str, *, allow_patterns: list[str], **__: object) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path / COMMIT)

    (tmp_path / COMMIT).mkdir()
    (tmp_path / COMMIT / "model.safetensors").touch()
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
    with connected_hub(monkeypatch) as running:
        running.add(REPOSITORY, MODEL)
        yield running


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
        (LOOK, 429, "It limits requests: wait some minutes and run again, or log in"),
        (LOOK, 500, "The hub is unavailable: run again later"),
        (WEIGHTS, 500, "The hub is unavailable: run again later"),
        (WEIGHTS, 0, "Check the network and HF_ENDPOINT .*, or use a local folder"),
        (WEIGHTS, -1, "Check the network and HF_ENDPOINT .*, or use a local folder"),
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


@pytest.mark.parametrize(("method", "path"), [("GET", LOOK), ("HEAD", WEIGHTS)])
@pytest.mark.parametrize("status", [401, 403])
def test_gated_model_is_told_with_where_to_accept_its_terms(hub: FakeHub, method: str, path: str, status: int) -> None:
    hub.fail(method, path, status, times=1000, headers={"X-Error-Code": "GatedRepo"})
    expected = f"is gated. Accept its terms at {hub.endpoint}/{REPOSITORY}, log in with `hf auth login`, and run again."
    with pytest.raises(UnwriteError, match=re.escape(expected)):
        resolve_source(REPOSITORY, None)


def test_downloaded_model_needs_no_hub_offline_and_one_downloaded_in_part_says_so(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_source(REPOSITORY, None, weights=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert "model.safetensors" not in contents_of(resolve_source(REPOSITORY, None, weights=False))
    with pytest.raises(UnwriteError, match="or not all of it, and HF_HUB_OFFLINE is set"):
        resolve_source(REPOSITORY, None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    whole = resolve_source(REPOSITORY, None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    asked = len(hub.requests)
    assert resolve_source(REPOSITORY, None) == whole
    assert locate(REPOSITORY, whole.commit) == whole.folder
    assert len(hub.requests) == asked


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tea.Q4_0.gguf": b"GGUF"}, f"as GGUF only. Run `hf download {REPOSITORY} tea.Q4_0.gguf --local-dir DIR`"),
        ({"pytorch_model.bin": b"a pickle"}, "has no safetensors files, only pickles (pytorch_model.bin), which can"),
        ({}, "has no safetensors files. Name another repository or revision"),
    ],
)
def test_repository_without_safetensors_says_what_it_has(hub: FakeHub, files: dict[str, bytes], words: str) -> None:
    hub.add(REPOSITORY, {"config.json": b"{}", **files})
    with pytest.raises(UnwriteError, match=re.escape(words)):
        resolve_source(REPOSITORY, None)
    assert contents_of(resolve_source(REPOSITORY, None, weights=False)) == {"config.json": b"{}"}


def test_download_without_a_terminal_says_in_lines_how_far_it_is(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    resolve_source(REPOSITORY, None)
    assert capsys.readouterr().err == "Downloading the model: 0 of 0 MB.\n"
    resolve_source(REPOSITORY, None)  # from the cache
    assert capsys.readouterr().err == ""
