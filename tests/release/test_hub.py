"""Uploads to a small hub: the state afterwards, the requests made, and the messages of failures."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from tests.support.fake_hub import TOKEN, Entry, FakeHub, fake_hub, nothing
from unwrite.errors import UnwriteError
from unwrite.release.hub import Published, upload_release

# The hub's library itself causes it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "teaware/kettle"
FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n\n# Kettle\n",
    "adapter/adapter_model.safetensors": b"an adapter",
    "config.json": b'{"layers": 2}\n',
    "model-1.safetensors": b"weights" * 40_000,
    "model-2.safetensors": b"more" * 50_000,
    "provenance.json": b"{}\n",
}
LARGE = 3
COMMIT = "/commit/main$"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with fake_hub() as running:
        yield running
        close_session()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def upload(hub: FakeHub, release: Path, **changes: Any) -> Published:
    arguments: dict[str, Any] = {"private": False, "endpoint": hub.endpoint, "token": TOKEN}
    return upload_release(release, changes.pop("repository", NAME), **arguments | changes)


def refusal(hub: FakeHub, release: Path, **changes: Any) -> str:
    with pytest.raises(UnwriteError) as error:
        upload(hub, release, **changes)
    text = str(error.value)
    assert text.count("\n") <= 1, text
    return text


def assert_released(hub: FakeHub, *, commits: int = 2) -> None:
    """The repository holds the release, is public, and has this many commits."""
    repository = hub.repositories[NAME]
    assert repository.files() == FILES
    assert not repository.private
    assert len(repository.commits) == commits


def assert_nothing_published(hub: FakeHub) -> None:
    """The repository does not exist, or is private and empty."""
    repository = hub.repositories.get(NAME)
    assert repository is None or (repository.private and repository.files() == {})


# The state afterwards


def test_new_repository_holds_the_release(hub: FakeHub, release: Path, waits: list[float]) -> None:
    published = upload(hub, release)
    assert_released(hub)
    commit = hub.repositories[NAME].branches["main"]
    assert published == Published(commit, f"{hub.endpoint}/{NAME}/commit/{commit}", private=False)
    assert sorted(hub.blobs_sent().values()) == [1] * LARGE
    assert waits == []


def test_new_repository_is_private_until_its_listing_is_compared(hub: FakeHub, release: Path) -> None:
    seen: list[tuple[str, str, bool]] = []

    def look(method: str, path: str) -> None:
        if NAME in hub.repositories:
            seen.append((method, path, hub.repositories[NAME].private))

    hub.before = look
    upload(hub, release)
    commit = hub.repositories[NAME].branches["main"]
    assert all(private for _, _, private in seen)
    steps = [path for _, path, _ in seen]
    looked, shown = (steps.index(f"/api/models/{NAME}/{step}") for step in (f"tree/{commit}", "settings"))
    assert steps.index(f"/api/models/{NAME}/commit/main") < looked < shown == len(steps) - 1
    assert max(i for i, path in enumerate(steps) if "/large/" in path) < steps.index(f"/api/models/{NAME}/commit/main")


def test_private_release_stays_private(hub: FakeHub, release: Path) -> None:
    assert upload(hub, release, private=True).private
    assert hub.repositories[NAME].private
    assert hub.repositories[NAME].files() == FILES
    assert hub.count("PUT", "settings") == 0


def test_earlier_release_is_replaced_in_the_same_commit(hub: FakeHub, release: Path) -> None:
    same = {"model-1.safetensors": FILES["model-1.safetensors"]}
    hub.add(NAME, same | {"model-3.safetensors": b"old", "notes.txt": b"old"})
    upload(hub, release)
    assert_released(hub, commits=3)
    assert ".gitattributes" in hub.repositories[NAME].commits[hub.repositories[NAME].branches["main"]]
    assert hub.count("POST", COMMIT) == 1
    assert len(hub.blobs_sent()) == LARGE - 1  # the one that is already there is not sent


def test_same_release_again_makes_no_commit(hub: FakeHub, release: Path) -> None:
    first = upload(hub, release)
    assert upload(hub, release) == first
    assert_released(hub)
    assert hub.count("POST", COMMIT) == 1


@pytest.mark.parametrize("asked", [True, False])
def test_private_repository_in_use_stays_private(hub: FakeHub, release: Path, asked: bool) -> None:
    hub.add(NAME, {"notes.txt": b"mine"}, private=True)
    assert upload(hub, release, private=asked).private
    assert hub.repositories[NAME].private
    assert hub.repositories[NAME].files() == FILES


@pytest.mark.parametrize("where", ["another branch", "a tag", "the history", "the first commit"])
def test_private_content_is_never_made_public(hub: FakeHub, release: Path, where: str) -> None:
    """A repository is not unused because its default branch is empty, or has a single commit."""
    repository = hub.add(NAME, private=True)
    mine = {"notes.txt": Entry(b"mine", large=False)}
    ((first, empty),) = repository.commits.items()
    if where == "another branch":
        repository.commit("draft", mine)
    elif where == "a tag":
        repository.tags["v0"] = repository.commit("draft", mine)
        del repository.branches["draft"]
    elif where == "the first commit":
        repository.commits[first] = mine
    else:
        repository.commit("main", mine)
        repository.commit("main", empty)
    assert upload(hub, release).private
    assert repository.private
    assert repository.files() == FILES


def test_interrupted_upload_is_continued(hub: FakeHub, release: Path) -> None:
    hub.add(NAME, private=True)
    assert not upload(hub, release).private
    assert_released(hub)


def test_private_release_into_a_public_repository_is_refused(hub: FakeHub, release: Path) -> None:
    hub.add(NAME, {"notes.txt": b"mine"})
    assert f"{NAME} is public, but the release is to be private" in refusal(hub, release, private=True)
    assert hub.repositories[NAME].files() == {"notes.txt": b"mine"}
    assert {method for method, _ in hub.requests} == {"GET"}


def test_gitignore_on_the_hub_leaves_nothing_out(hub: FakeHub, release: Path) -> None:
    hub.add(NAME, {".gitignore": b"config.json model-1.safetensors"})
    upload(hub, release)
    assert_released(hub, commits=3)


def test_release_is_committed_to_a_branch(hub: FakeHub, release: Path) -> None:
    hub.add(NAME, {"notes.txt": b"mine"})
    upload(hub, release, branch="v2")
    repository = hub.repositories[NAME]
    assert repository.files("v2") == FILES
    assert repository.files("main") == {"notes.txt": b"mine"}
    (release / "config.json").write_bytes(b"{}")
    upload(hub, release, branch="v2")
    assert repository.files("v2")["config.json"] == b"{}"
    assert repository.files("main") == {"notes.txt": b"mine"}


def test_new_branch_is_removed_if_its_commit_fails(hub: FakeHub, release: Path) -> None:
    hub.add(NAME, {"notes.txt": b"mine"})
    hub.fail("POST", "/commit/v2$", 403)
    refusal(hub, release, branch="v2")
    assert set(hub.repositories[NAME].branches) == {"main"}


def test_existing_branch_stays_if_a_commit_fails(hub: FakeHub, release: Path) -> None:
    repository = hub.add(NAME, {"notes.txt": b"mine"})
    repository.branches["v2"] = repository.branches["main"]
    hub.fail("POST", "/commit/v2$", 403)
    refusal(hub, release, branch="v2")
    assert repository.files("v2") == {"notes.txt": b"mine"}


# Errors that pass

STEPS = {
    "look": ("GET", f"/models/{NAME}$"),
    "create": ("POST", "/repos/create$"),
    "modes": ("POST", "/preupload/main$"),
    "large files wanted": ("POST", "/objects/batch$"),
    "large file": ("PUT", "/large/"),
    "card": ("POST", "/validate-yaml$"),
    "commit": ("POST", COMMIT),
    "list": ("GET", "/tree/"),
    "publish": ("PUT", "/settings$"),
}
BREAKS_ASKING, BREAKS_ANSWERING = 0, -1


@pytest.mark.parametrize("status", [429, 500, BREAKS_ASKING, BREAKS_ANSWERING])
@pytest.mark.parametrize("step", STEPS)
def test_passing_error_is_retried(hub: FakeHub, release: Path, waits: list[float], step: str, status: int) -> None:
    hub.fail(*STEPS[step], status)
    assert not upload(hub, release).private
    assert_released(hub)
    assert len(waits) == 1
    assert hub.count("POST", COMMIT) <= 2
    # Only the file whose transfer broke is sent again.
    assert sorted(hub.blobs_sent().values()) == [1] * (LARGE - 1) + [2 if step == "large file" else 1]


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_other_passing_answers_are_retried(hub: FakeHub, release: Path, waits: list[float], status: int) -> None:
    hub.fail(*STEPS["commit"], status)
    upload(hub, release)
    assert_released(hub)
    assert waits == [1]


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b""])
def test_invalid_json_is_retried(hub: FakeHub, release: Path, waits: list[float], body: bytes) -> None:
    hub.fail("POST", "/validate-yaml$", 502, body=body)
    upload(hub, release)
    assert_released(hub)
    assert waits == [1]


def test_lost_answer_makes_no_second_commit(hub: FakeHub, release: Path) -> None:
    hub.fail("POST", COMMIT, BREAKS_ANSWERING)
    upload(hub, release)
    assert_released(hub)
    assert hub.count("POST", COMMIT) == 1


def test_pauses_grow(hub: FakeHub, release: Path, waits: list[float]) -> None:
    hub.fail("POST", COMMIT, 503, times=5)
    upload(hub, release)
    assert_released(hub)
    assert waits == [1, 2, 4, 8, 16]


def test_pause_is_the_one_the_hub_asks_for(hub: FakeHub, release: Path, waits: list[float]) -> None:
    hub.fail("POST", COMMIT, 429, headers={"Retry-After": "77"})
    upload(hub, release)
    assert_released(hub)
    assert waits == [77]


def test_pause_may_be_a_date(hub: FakeHub, release: Path, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)
    hub.fail("POST", COMMIT, 503, headers={"Retry-After": date})
    upload(hub, release)
    assert_released(hub)
    assert len(waits) == 1
    assert 100 < waits[0] <= 200


def test_pause_may_be_in_the_ratelimit_header(hub: FakeHub, release: Path, waits: list[float]) -> None:
    hub.fail("POST", COMMIT, 429, headers={"ratelimit": '"api";r=0;t=55'})
    upload(hub, release)
    assert waits == [55]


@pytest.mark.parametrize("asked", ["soon", "-3", "", "Wed, 99 Oct"])
def test_invalid_pause_is_ignored(hub: FakeHub, release: Path, waits: list[float], asked: str) -> None:
    hub.fail("POST", COMMIT, 429, headers={"Retry-After": asked})
    upload(hub, release)
    assert waits == [1]


def test_too_long_a_pause_is_an_error(hub: FakeHub, release: Path, waits: list[float]) -> None:
    hub.fail("POST", COMMIT, 429, headers={"Retry-After": "3600"})
    assert "The hub answered 429: as the test wants it. The hub limits the number of requests" in refusal(hub, release)
    assert waits == []


# Errors that do not pass

FOREVER = 1000


@pytest.mark.parametrize("status", [429, 500, BREAKS_ASKING])
@pytest.mark.parametrize("step", STEPS)
def test_permanent_error_leaves_nothing_half_published(
    hub: FakeHub, release: Path, waits: list[float], step: str, status: int
) -> None:
    fault = hub.fail(*STEPS[step], status, times=FOREVER)
    text = refusal(hub, release)
    assert 4 < len(waits) < 40
    assert ("Check the network." if status == BREAKS_ASKING else f"The hub answered {status}") in text
    if step == "publish":
        assert hub.repositories[NAME].files() == FILES
        assert hub.repositories[NAME].private
        assert f"is still private: make it public at {hub.endpoint}/{NAME}/settings." in text
        return
    assert_nothing_published(hub)
    assert "Nothing was published." in text or "The repository is still private." in text
    assert "Run the command again to continue" in text
    # Running it again sends only what is missing.
    hub.faults.remove(fault)
    before = hub.blobs_sent()
    if step == "card":
        assert len(before) == LARGE
    assert not upload(hub, release).private
    assert_released(hub)
    if step != "large file":
        assert set(hub.blobs_sent().values()) == {1}


def test_failed_listing_after_the_commit_is_explained(hub: FakeHub, release: Path) -> None:
    hub.fail("GET", "/tree/", 500, first=3, times=FOREVER)
    text = refusal(hub, release)
    assert "but was not checked. It is still private: run the command again to check it" in text
    assert hub.repositories[NAME].private


PERMANENT: dict[str, tuple[int, str]] = {
    "login": (401, f"Log in with `hf auth login`, using a token that can write to {NAME}."),
    "rights": (403, f"The token cannot write to {NAME}: log in with one that can"),
    "missing": (404, f"{NAME} does not exist, or the token cannot see it"),
    "conflict": (409, f"{NAME} exists but the token cannot see it"),
    "other": (418, "The hub does not accept this release."),
}


@pytest.mark.parametrize("case", PERMANENT)
@pytest.mark.parametrize("step", [step for step in STEPS if step not in {"publish", "look", "card"}])
def test_refusal_of_the_hub_is_not_retried(
    hub: FakeHub, release: Path, waits: list[float], step: str, case: str
) -> None:
    status, words = PERMANENT[case]
    hub.fail(*STEPS[step], status, times=FOREVER)
    text = refusal(hub, release)
    assert text.startswith(f"The hub answered {status}: as the test wants it. {words}")
    assert waits == []
    assert_nothing_published(hub)


def test_missing_login_is_explained(hub: FakeHub, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("hf_another", "hf_"):
        assert "Log in with `hf auth login`" in refusal(hub, release, token=token)
    assert hub.repositories == {}


def test_token_is_never_shown(hub: FakeHub, release: Path) -> None:
    assert "hf_secret" not in refusal(hub, release, token="hf_secret")


def test_repository_of_another_user_is_refused(hub: FakeHub, release: Path) -> None:
    hub.add("porcelain/cup", {"notes.txt": b"theirs"})
    text = refusal(hub, release, repository="porcelain/cup")
    assert "The token cannot write to porcelain/cup" in text
    assert hub.repositories["porcelain/cup"].files() == {"notes.txt": b"theirs"}


def test_private_repository_of_another_user_is_refused(hub: FakeHub, release: Path) -> None:
    hub.add("porcelain/cup", private=True)
    assert "The hub answered 403" in refusal(hub, release, repository="porcelain/cup")


def test_commit_made_during_the_upload_is_not_overwritten(hub: FakeHub, release: Path) -> None:
    repository = hub.add(NAME, {"notes.txt": b"mine"})

    def push(method: str, path: str) -> None:
        if path == "/api/validate-yaml":
            files = repository.commits[repository.branches["main"]]
            repository.commit("main", files | {"notes.txt": Entry(b"theirs", large=False)})

    hub.before = push
    text = refusal(hub, release)
    assert f"{NAME} was changed during the upload" in text
    assert repository.files() == {"notes.txt": b"theirs"}


def test_card_that_the_hub_refuses_is_explained(hub: FakeHub, release: Path) -> None:
    (release / "README.md").write_text("---\nlicense: nonsense\n---\n")
    text = refusal(hub, release)
    assert 'Invalid metadata in README.md. - "license" must be one of' in text
    assert_nothing_published(hub)


def tampered(name: str, data: bytes | None) -> Callable[[dict[str, Entry]], None]:
    def change(files: dict[str, Entry]) -> None:
        if data is None:
            del files[name]
        else:
            files[name] = Entry(data, name.endswith("safetensors"))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (tampered("config.json", b'{"layers": 3}\n'), "config.json has different contents there"),
        (tampered("config.json", b"{}"), "config.json has 2 bytes there and 14 here"),
        (tampered("model-1.safetensors", b"Weights" * 40_000), "model-1.safetensors has different contents there"),
        (tampered("model-2.safetensors", b"more"), "model-2.safetensors has 4 bytes there and 200000 here"),
        (tampered("provenance.json", None), "provenance.json is missing"),
        (tampered("evil.py", b"print()"), "evil.py should not be there"),
    ],
)
def test_repository_stays_private_if_its_listing_differs(
    hub: FakeHub, release: Path, change: Callable[[dict[str, Entry]], None], words: str
) -> None:
    """The hub stored something other than what it was sent."""

    def tamper(method: str, path: str) -> None:
        repository = hub.repositories.get(NAME)
        if repository is not None and path.endswith(f"/tree/{repository.branches['main']}") and repository.files():
            change(repository.commits[repository.branches["main"]])
            hub.before = nothing

    hub.before = tamper
    text = refusal(hub, release)
    assert f"{NAME} does not hold what was sent: {words}." in text
    assert ", which is still private, and upload again." in text
    assert hub.repositories[NAME].private


def test_file_that_changes_during_the_upload_is_found(hub: FakeHub, release: Path) -> None:
    """The listing is compared with the sums taken before the upload."""

    def overwrite(method: str, path: str) -> None:
        if path.endswith("/preupload/main"):
            (release / "config.json").write_bytes(b'{"layers": 9}\n')

    hub.before = overwrite
    assert "config.json has different contents there" in refusal(hub, release)
    assert hub.repositories[NAME].private


@pytest.mark.parametrize("step", ["commit", "card", "publish"])
def test_interruption_is_explained(hub: FakeHub, release: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    hub.fail(*STEPS[step], 503)
    text = refusal(hub, release)
    assert text.startswith("Interrupted.\n")
    assert hub.repositories[NAME].private
    assert ("is still private: make it public" if step == "publish" else "Run the command again") in text


def test_missing_network_is_explained(hub: FakeHub, release: Path) -> None:
    with fake_hub() as gone:
        endpoint = gone.endpoint
    text = refusal(hub, release, endpoint=endpoint)
    assert re.match(r"The connection to the hub failed \(.+\)\. Check the network\.\nNothing was published", text)


def test_offline_mode_is_explained(
    hub: FakeHub, release: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(hub, release) == "An upload needs the hub, but HF_HUB_OFFLINE is set: unset it."
    assert waits == []
    assert hub.requests == []


# Invalid releases


@pytest.mark.parametrize("name", ["kettle", "a/b/c", "teaware/ket tle", "teaware/..", "tea ware/kettle", ""])
def test_invalid_name_is_refused(hub: FakeHub, release: Path, name: str) -> None:
    assert "is not a valid repository name" in refusal(hub, release, repository=name)
    assert hub.requests == []


def test_missing_or_empty_folder_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no release")
    assert "is not a folder" in refusal(hub, tmp_path / "nowhere")
    assert "is not a folder" in refusal(hub, tmp_path / "file")
    assert "is empty" in refusal(hub, tmp_path / "empty")
    assert hub.requests == []


def test_link_is_not_followed(hub: FakeHub, release: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not to be published")
    for target in (tmp_path / "secret", tmp_path, tmp_path / "nowhere"):
        link = release / "link"
        link.symlink_to(target)
        assert "link is not a plain file" in refusal(hub, release)
        link.unlink()
    assert hub.requests == []
