"""Where a model comes from: a local folder, or a hub id resolved to one commit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.loading import trust_remote_code
from unwrite.models.transport import transport_error

# What describes a model (and its own card, for the licence) and what it weighs; never pickles, and code only where the
# person lets it run.
_DESCRIPTION = ["*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "LICENSE*", "NOTICE*", "README.md"]
_WEIGHTS = ["*.safetensors"]
_CODE = ["*.py"]
# Other formats of the same weights: in folders, or beside the shards.
_DUPLICATES = ["*/*", "consolidated*"]


class ModelSource(NamedTuple):
    """A folder with the model's files, and the hub commit they are of (None for a local folder)."""

    folder: Path
    commit: str | None


def resolve_release(source: str, revision: str | None) -> Path:
    """The folder of a release: one that is there, or a hub id with every file that its repository has.

    A file that should not be there must come along to be found. Nothing of it is run.

    Raises:
        UnwriteError: As `resolve_source`.
    """
    if Path(source).exists():
        if revision is not None:
            raise UnwriteError(f"--revision is {revision!r}, but {source} is a local folder: leave it out.")
        return Path(source)
    _refuse_no_hub_id(source)
    return _download(source, revision, patterns=None).folder


def resolve_source(source: str, revision: str | None, *, weights: bool = True) -> ModelSource:
    """Finds a model: an existing folder as it is, a hub id by downloading it at the commit `revision` points to.

    Without a network, or with HF_HUB_OFFLINE=1, what the hub's cache holds is used. Without `weights`, a hub id brings
    only what describes the model.

    Raises:
        UnwriteError: There is no such folder and it is not a hub id, or the hub can't deliver it.
    """
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise UnwriteError(f"model.revision is {revision!r}, but {source} is a local folder: set revision to null.")
        return ModelSource(folder, None)
    _refuse_no_hub_id(source)
    if folder.parent.is_dir():
        raise UnwriteError(
            f"{source!r}: there is no such folder in {folder.parent}/. Correct the name; if a hub id is "
            f"meant, rename the folder {folder.parent}/ that stands in its way."
        )
    return _download(source, revision, patterns=_patterns(weights=weights))


def locate(source: str, commit: str | None) -> Path:
    """The folder of a pinned model, downloaded if need be.

    Raises:
        UnwriteError: As `resolve_source`.
    """
    if commit is None:
        return resolve_source(source, None).folder
    return _download(source, commit, patterns=_patterns(weights=True)).folder


def _patterns(*, weights: bool) -> list[str]:
    return _DESCRIPTION + _WEIGHTS * weights + _CODE * trust_remote_code()


def _refuse_no_hub_id(source: str) -> None:
    if not _is_hub_id(source):
        raise UnwriteError(f"{source!r}: there is no such folder, and it is no hub id (organisation/name).")


def _is_hub_id(source: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def _download(repository: str, revision: str | None, *, patterns: list[str] | None) -> ModelSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{repository} at {revision or 'its default branch'}"
    try:
        snapshot = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=None if patterns is None else _DUPLICATES,
        )
    except GatedRepoError:
        raise UnwriteError(f"{name} is gated: accept its terms on the hub and log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        raise UnwriteError(
            f"The hub has no {repository}, or it is private: check the id, or `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise UnwriteError(f"{repository} has no revision {revision!r}: check model.revision.") from None
    except (LocalEntryNotFoundError, transport_error(), OSError) as error:
        # What the hub answered, where the library says no more than that nothing is in its cache either.
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        refused = isinstance(cause, HfHubHTTPError) and cause.response.status_code in {401, 403}
        remedy = "log in with `hf auth login`" if refused else "check the network"
        raise UnwriteError(
            f"Can't get {name} from the hub ({reason_of(cause)}): {remedy}, or use a local folder."
        ) from error
    # The hub's cache keeps one folder a commit, named by it.
    folder = Path(snapshot)
    return ModelSource(folder, folder.name)
