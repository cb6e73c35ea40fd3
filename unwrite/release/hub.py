"""Upload of a finished release to the hub: all of it in one commit, looked over before anybody else can see it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from unwrite.errors import UnwriteError, reason_of
from unwrite.pipeline.stage import say

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

KEPT = ".gitattributes"  # the hub's own: it says which files are large
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts
_LONGEST_PAUSE = 300.0  # seconds: the window over which the hub counts requests
_SMALL = 1 << 25  # bytes: the hub keeps no larger file in git itself
_LIMIT = re.compile(r"\br=0\s*;\s*t=(\d+)")  # nothing remains, for so many seconds
_NAMED = 3  # what a message lists
_AGAIN = "Run the command again to go on: what the hub has is not sent again."


class Published(NamedTuple):
    """Where a release is: the commit, its page, and whether the repository is still private."""

    commit: str
    url: str
    private: bool


class _LocalFile(NamedTuple):
    """A file of the release, by all that the hub can say about it; `blob` is git's own sum, of small files only."""

    path: Path
    size: int
    sha256: str
    blob: str | None


def upload_release(
    folder: Path,
    repository: str,
    *,
    private: bool,
    branch: str | None = None,
    message: str = "Release made with unwrite",
    endpoint: str | None = None,
    token: str | None = None,
) -> Published:
    """Makes a repository of the hub hold exactly the files of `folder`, in one commit.

    A new repository is private until the hub's listing (sizes and sums) has been compared with the files here. So is
    a private one that never held a file, as an upload that was cut short leaves it. Any other repository keeps the
    visibility it has, which the result states. Large files are sent before the commit: a transfer that
    breaks leaves no commit, and the next run sends only what is missing. A new branch is made just before its commit,
    and removed if that fails.

    Args:
        folder: The finished release; everything in it is uploaded.
        repository: organisation/name.
        private: Whether the repository is to stay private.
        branch: Where to commit; the default branch if it is None.
        message: Title of the commit.
        endpoint: Another hub than that of HF_ENDPOINT.
        token: Another token than the one of `hf auth login` or HF_TOKEN.

    Raises:
        UnwriteError: The folder or the name won't do, the hub refuses or can't be reached, or what it lists afterwards
            is not what is here. The last line says what state the repository is in.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if repository.count("/") != 1:
        raise UnwriteError(f"{repository!r} is no name of a repository: expected organisation/name.")
    files = _local_files(folder)
    api = HfApi(endpoint=endpoint, token=token)
    with _explained(repository, f"Nothing was published. {_AGAIN}"):
        info = _retried(lambda: _open(api, repository))
        if private and not info.private:
            raise UnwriteError(
                f"{repository} is public, and the release is to be private: make it private in its settings, or take "
                "another name. Nothing was sent."
            )
        to_show = not private and bool(info.private) and _retried(lambda: _is_unused(api, repository, _commit_of(info)))
        head = _retried(lambda: _head(api, repository, branch))
        parent = head or _commit_of(info)
        additions = [CommitOperationAdd(name, str(file.path)) for name, file in files.items()]
        # No .gitignore that is there already may leave a file out.
        ignore = None if ".gitignore" in files else ""
        there = branch if head else None
        api.preupload_lfs_files(repository, additions, revision=there, free_memory=False, gitignore_content=ignore)
    hidden = "Nobody else can see it" if to_show else "The repository may be as it was, or hold the whole release"
    new_branch = branch if head is None else None
    with _explained(repository, f"{hidden}. {_AGAIN}"), _branch(api, repository, new_branch, parent):
        commit = _commit(
            api, repository, branch=branch, parent=parent, files=files, additions=additions, message=message
        )
    url = f"{api.endpoint}/{repository}"
    by_hand = f"make it public at {url}/settings"
    state = f"It is still private: run the command again to check it, then {by_hand}." if to_show else _AGAIN
    with _explained(repository, f"The release is in {repository} as commit {commit}, but not checked. {state}"):
        different = _differences(files, _listing(api, repository, commit))
    if different:
        raise UnwriteError(
            f"{repository} does not hold what was sent: {_shortened(different)}.\n"
            f"It is commit {commit}{', and still private' if to_show else ''}: undo it, and upload again."
        )
    if to_show:
        with _explained(
            repository, f"The release is in {repository} and was checked, but is still private: {by_hand}."
        ):
            _retried(lambda: api.update_repo_settings(repository, private=False))
    return Published(commit, f"{url}/commit/{commit}", bool(info.private) and not to_show)


def _local_files(folder: Path) -> dict[str, _LocalFile]:
    """Every file of the release by its name in the repository, with its sums as they are before the upload."""
    if not folder.is_dir():
        raise UnwriteError(f"{folder} is not a folder: expected a finished release.")
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    if not paths:
        raise UnwriteError(f"{folder} is empty: expected a finished release.")
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise UnwriteError(
                f"{path} is not a plain file: a release holds plain files alone. Put a copy in its place."
            )
    return {path.relative_to(folder).as_posix(): _local_file(path) for path in paths}


def _local_file(path: Path) -> _LocalFile:
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            if size <= _SMALL:
                blob.update(block)
    return _LocalFile(path, size, sha256.hexdigest(), blob.hexdigest() if size <= _SMALL else None)


def _open(api: HfApi, repository: str) -> ModelInfo:
    """The repository, made if there is none."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.model_info(repository)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
    api.create_repo(repository, private=True)
    return api.model_info(repository)


def _is_unused(api: HfApi, repository: str, commit: str) -> bool:
    """Whether this commit, the first of the default branch, is all there is, on any branch, and holds nothing."""
    refs = api.list_repo_refs(repository, include_pull_requests=True)
    every = [*refs.branches, *refs.converts, *refs.tags, *(refs.pull_requests or [])]
    return (
        {ref.target_commit for ref in every} <= {commit}
        and len(api.list_repo_commits(repository, revision=commit)) == 1
        and set(_listing(api, repository, commit)) <= {KEPT}
    )


def _commit_of(info: ModelInfo) -> str:
    if info.sha is None:
        raise UnwriteError(f"The hub does not say at which commit {info.id} is: make a first commit there.")
    return info.sha


def _head(api: HfApi, repository: str, branch: str | None) -> str | None:
    """The commit that the branch points to; None if there is no such branch."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return _commit_of(api.model_info(repository, revision=branch))
    except RevisionNotFoundError:
        return None


def _listing(api: HfApi, repository: str, commit: str) -> dict[str, RepoFile]:
    """Every file of a commit, as the hub lists it. The library tries again by itself what may pass here."""
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repository, recursive=True, revision=commit)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _differences(files: Mapping[str, _LocalFile], listing: Mapping[str, RepoFile]) -> list[str]:
    """What is different there from here, one phrase a file; nothing if the two are the same."""
    found = [f"{name} is missing" for name in files if name not in listing]
    found += [f"{name} should not be there" for name in listing if name not in files and name != KEPT]
    for name, file in files.items():
        there = listing.get(name)
        if there is None:
            continue
        size, same = (
            (there.size, there.blob_id == file.blob)
            if there.lfs is None
            else (there.lfs.size, there.lfs.sha256 == file.sha256)
        )
        if size != file.size:
            found.append(f"{name} has {size} bytes there and {file.size} here")
        elif not same:
            found.append(f"{name} has another content there")
    return found


def _shortened(phrases: list[str]) -> str:
    more = len(phrases) - _NAMED
    return "; ".join(phrases[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _commit(
    api: HfApi,
    repository: str,
    *,
    branch: str | None,
    parent: str,
    files: Mapping[str, _LocalFile],
    additions: list[CommitOperationAdd],
    message: str,
) -> str:
    """Makes the branch hold these files and no others, in one commit on top of `parent`; returns its id."""
    from huggingface_hub import CommitOperationDelete

    def attempt() -> str:
        # A lost answer is not a lost commit: each attempt looks first.
        head = _head(api, repository, branch) or parent
        listing = _listing(api, repository, head)
        if not _differences(files, listing):
            return head
        gone = [CommitOperationDelete(name, is_folder=False) for name in listing if name not in files and name != KEPT]
        done = api.create_commit(
            repository, [*gone, *additions], commit_message=message, revision=branch, parent_commit=parent
        )
        return done.oid

    return _retried(attempt)


@contextmanager
def _branch(api: HfApi, repository: str, branch: str | None, start: str) -> Iterator[None]:
    """A new branch, if one is named, that is there while open, and afterwards if nothing went wrong."""
    if branch is None:
        yield
        return
    _retried(lambda: api.create_branch(repository, branch=branch, revision=start, exist_ok=True))
    try:
        yield
    except BaseException:
        try:
            api.delete_branch(repository, branch=branch)
        except Exception as error:  # what stopped the commit matters more
            say(f"The new branch {branch} is still there, as {start[:12]} ({reason_of(error)}): remove it.")
        raise


def _retried(call: Callable[[], T]) -> T:
    """Calls until it works, for as long as what went wrong may pass."""
    for pause in _PAUSES:
        try:
            return call()
        except _hub_errors() as error:
            seconds = max(pause, _asked_pause(error))
            if not _may_pass(error) or seconds > _LONGEST_PAUSE:
                raise
            say(f"{_what_came(error)} Trying again in {seconds:.0f} s.")
        time.sleep(seconds)
    return call()


def _hub_errors() -> tuple[type[Exception], ...]:
    """What the hub and the way to it raise.

    The library's own error derives from that of the HTTP library below it, which changes between versions; xet raises
    Python's; and what is no JSON where JSON was due comes from something in between that is out of order.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], ConnectionError, TimeoutError, JSONDecodeError)


def _status(error: Exception) -> int | None:
    """What the hub answered; None if there was no answer."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    return not isinstance(error, OfflineModeIsEnabled) if status is None else status in {408, 429, 500, 502, 503, 504}


def _asked_pause(error: Exception) -> float:
    """Seconds that the hub asks to wait, by `Retry-After` (seconds or a date) or its own `ratelimit`; else 0."""
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    if limit := _LIMIT.search(headers.get("ratelimit", "")):
        return float(limit[1])
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


@contextmanager
def _explained(repository: str, state: str) -> Iterator[None]:
    """Shows what the hub or its library raises as an expected error: what came and what to do, then the state."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except KeyboardInterrupt:
        raise UnwriteError(f"Interrupted.\n{state}") from None
    except HFValidationError as error:
        raise UnwriteError(f"{repository!r} is no name of a repository: {reason_of(error)}") from None
    except OfflineModeIsEnabled:
        raise UnwriteError("HF_HUB_OFFLINE is set, and an upload needs the hub: unset it.") from None
    except _hub_errors() as error:
        raise UnwriteError(f"{_what_came(error)} {_what_to_do(error, repository)}\n{state}") from error
    except RuntimeError as error:  # how the hub's library wraps what stopped a large file
        if not isinstance(error.__cause__, Exception):
            raise UnwriteError(f"A file could not be sent ({reason_of(error)}).\n{state}") from error
        with _explained(repository, state):
            raise error.__cause__ from None
    except (ValueError, OSError) as error:
        raise UnwriteError(f"The upload stopped: {reason_of(error)}\n{state}") from error


def _what_came(error: Exception) -> str:
    if isinstance(error, JSONDecodeError):
        return "The hub answered with something that is no JSON."
    status = _status(error)
    if status is None:
        return f"The connection to the hub broke ({reason_of(error)})."
    said = getattr(error, "server_message", None)
    return f"The hub answered {status}: {reason_of(UnwriteError(said))}." if said else f"The hub answered {status}."


def _what_to_do(error: Exception, repository: str) -> str:
    status = _status(error)
    if status is None:
        return "Check the network."
    if status >= 500:
        return "It is out of order: try again later."
    return {
        401: f"Log in with `hf auth login`, with a token that may write to {repository}.",
        403: f"The token may not write to {repository}: `hf auth login` with one that may, or take another name.",
        404: f"There is no {repository}, or the token may not see it: check the name, or log in with `hf auth login`.",
        409: f"{repository} exists and the token may not see it, or it is being changed: take another name, or wait.",
        412: f"Somebody else has changed {repository} meanwhile: see what they did, and upload again.",
        429: "It limits how much is asked of it: wait some minutes.",
    }.get(status, "It does not accept this release.")
