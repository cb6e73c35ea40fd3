"""Upload of a finished release to the hub: in one commit, checked before anyone else can see it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.errors import UnwriteError, reason_of
from unwrite.release.hub_errors import hub_errors_explained
from unwrite.release.hub_files import KEPT, LocalFile, hub_listing, listing_differences, local_files
from unwrite.release.hub_retry import retry

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi, ModelInfo

_LISTED = 3
_RESUME = "Run the command again to continue: files that the hub already has are not sent again."

logger = logging.getLogger(__name__)


class Published(NamedTuple):
    """Where a release is: the commit, its page, and whether the repository is still private."""

    commit: str
    url: str
    private: bool


class _Target(NamedTuple):
    """The repository and branch to commit to.

    `start` is the commit to build on, and `is_new` whether the branch does not exist yet. `publish` is whether to make
    the repository public in the end; until then it is private.
    """

    api: HfApi
    repository: str
    branch: str | None
    start: str
    is_new: bool
    private: bool
    publish: bool

    @property
    def url(self) -> str:
        return f"{self.api.endpoint}/{self.repository}"


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
    """Make a repository of the hub hold exactly the files of a release, in one commit.

    A new repository, or a private one that never held a file, is private until the hub's listing has been compared with
    the files here. Any other repository keeps its visibility. Large files are sent before the commit, so a broken
    transfer leaves no commit, and the next run sends only what is missing.

    Args:
        folder: the finished release; everything in it is uploaded.
        repository: organisation/name.
        private: whether the repository is to stay private.
        branch: branch to commit to; the default branch if None.
        message: title of the commit.
        endpoint: URL of the hub, instead of HF_ENDPOINT.
        token: access token, instead of that of `hf auth login` or HF_TOKEN.

    Raises:
        UnwriteError: the folder or name is invalid, the hub refuses or cannot be reached, or its listing differs from
            the files here. The last line names the state of the repository.
    """
    from huggingface_hub import HfApi

    if repository.count("/") != 1:
        raise UnwriteError(f"{repository!r} is not a valid repository name: expected organisation/name.")
    files = local_files(folder)
    with hub_errors_explained(repository, f"Nothing was published. {_RESUME}"):
        target = _find_target(HfApi(endpoint=endpoint, token=token), repository, branch, private=private)
        additions = _send_large_files(target, files)
    with hub_errors_explained(repository, _state_during_commit(target)), _new_branch(target):
        commit = _commit(target, files, additions, message)
    with hub_errors_explained(repository, _state_before_check(target, commit)):
        _refuse_other_files(target, commit, files)
    if target.publish:
        with hub_errors_explained(repository, _state_before_publishing(target)):
            retry(lambda: target.api.update_repo_settings(repository, private=False))
    return Published(commit, f"{target.url}/commit/{commit}", private=target.private and not target.publish)


def _find_target(api: HfApi, repository: str, branch: str | None, *, private: bool) -> _Target:
    info = retry(lambda: _open(api, repository))
    if private and not info.private:
        raise UnwriteError(
            f"{repository} is public, but the release is to be private: make it private in its settings, or choose "
            "another name. Nothing was sent."
        )
    publish = not private and bool(info.private) and retry(lambda: _is_unused(api, repository, _commit_of(info)))
    head = retry(lambda: _head(api, repository, branch))
    return _Target(
        api,
        repository,
        branch,
        start=head or _commit_of(info),
        is_new=head is None,
        private=bool(info.private),
        publish=publish,
    )


def _open(api: HfApi, repository: str) -> ModelInfo:
    """Return the repository, created if it does not exist."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.model_info(repository)
    except HfHubHTTPError as error:
        if error.response.status_code != 404:
            raise
    api.create_repo(repository, private=True)
    return api.model_info(repository)


def _is_unused(api: HfApi, repository: str, commit: str) -> bool:
    """Return whether this commit is the only one on any branch or tag, and holds no file."""
    refs = api.list_repo_refs(repository, include_pull_requests=True)
    every = [*refs.branches, *refs.converts, *refs.tags, *(refs.pull_requests or [])]
    return (
        {ref.target_commit for ref in every} <= {commit}
        and len(api.list_repo_commits(repository, revision=commit)) == 1
        and set(hub_listing(api, repository, commit)) <= {KEPT}
    )


def _commit_of(info: ModelInfo) -> str:
    if info.sha is None:
        raise UnwriteError(f"The hub lists no commit of {info.id}: make a first commit there.")
    return info.sha


def _head(api: HfApi, repository: str, branch: str | None) -> str | None:
    """Return the commit that the branch points to; None if the branch does not exist."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return _commit_of(api.model_info(repository, revision=branch))
    except RevisionNotFoundError:
        return None


def _send_large_files(target: _Target, files: Mapping[str, LocalFile]) -> list[CommitOperationAdd]:
    """Send the large files; return the additions of the commit."""
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(name, str(file.path)) for name, file in files.items()]
    target.api.preupload_lfs_files(
        target.repository,
        additions,
        revision=None if target.is_new else target.branch,
        free_memory=False,
        # A .gitignore that is already there must not leave a file out.
        gitignore_content=None if ".gitignore" in files else "",
    )
    return additions


def _commit(target: _Target, files: Mapping[str, LocalFile], additions: list[CommitOperationAdd], message: str) -> str:
    """Make the branch hold exactly these files, in one commit on top of its start; return the commit."""
    from huggingface_hub import CommitOperationDelete

    def attempt() -> str:
        # The answer to an earlier attempt may have been lost, though the commit was made: look first.
        head = _head(target.api, target.repository, target.branch) or target.start
        listing = hub_listing(target.api, target.repository, head)
        if not listing_differences(files, listing):
            return head
        extra = [name for name in listing if name not in files and name != KEPT]
        done = target.api.create_commit(
            target.repository,
            [*(CommitOperationDelete(name, is_folder=False) for name in extra), *additions],
            commit_message=message,
            revision=target.branch,
            parent_commit=target.start,
        )
        return done.oid

    return retry(attempt)


@contextmanager
def _new_branch(target: _Target) -> Iterator[None]:
    """Create the branch if it is new; remove it again if an error is raised while open."""
    api, repository, branch = target.api, target.repository, target.branch
    if branch is None or not target.is_new:
        yield
        return
    retry(lambda: api.create_branch(repository, branch=branch, revision=target.start, exist_ok=True))
    try:
        yield
    except BaseException:
        try:
            api.delete_branch(repository, branch=branch)
        except Exception as error:  # the error that stopped the commit matters more
            logger.warning("The new branch %s was not removed (%s): remove it.", branch, reason_of(error))
        raise


def _refuse_other_files(target: _Target, commit: str, files: Mapping[str, LocalFile]) -> None:
    differences = listing_differences(files, hub_listing(target.api, target.repository, commit))
    if not differences:
        return
    more = f"; and {len(differences) - _LISTED} more" if len(differences) > _LISTED else ""
    visibility = ", which is still private" if target.publish else ""
    raise UnwriteError(
        f"{target.repository} does not hold what was sent: {'; '.join(differences[:_LISTED])}{more}.\n"
        f"Revert commit {commit}{visibility}, and upload again."
    )


def _state_during_commit(target: _Target) -> str:
    if target.publish:
        return f"The repository is still private. {_RESUME}"
    return f"The repository is either unchanged or holds the whole release. {_RESUME}"


def _state_before_check(target: _Target, commit: str) -> str:
    state = f"The release is in {target.repository} as commit {commit}, but was not checked."
    if target.publish:
        return f"{state} It is still private: run the command again to check it, then {_how_to_publish(target)}."
    return f"{state} {_RESUME}"


def _state_before_publishing(target: _Target) -> str:
    return f"The release is in {target.repository} and was checked, but is still private: {_how_to_publish(target)}."


def _how_to_publish(target: _Target) -> str:
    return f"make it public at {target.url}/settings"
