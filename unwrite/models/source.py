"""Where a model comes from: a local folder, or a hub id resolved to one commit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError, reason_of

# Weights and what describes them; never pickles, never code.
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt"]
_HUB_FILES += ["LICENSE*", "NOTICE*"]


class Source(NamedTuple):
    """A folder with the model's files, and the hub commit they are of (None for a local folder)."""

    folder: Path
    commit: str | None


def resolve_source(source: str, revision: str | None) -> Source:
    """Finds a model: an existing folder as it is, a hub id by downloading it at the commit `revision` points to.

    Without a network, or with HF_HUB_OFFLINE=1, what the hub's cache holds is used.

    Raises:
        UnwriteError: There is no such folder and it is not a hub id, or the hub can't deliver it.
    """
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise UnwriteError(f"model.revision is {revision!r}, but {source} is a local folder: set revision to null.")
        return Source(folder, None)
    if not _is_hub_id(source) or folder.parent.is_dir():
        raise UnwriteError(
            f"model.source {source!r}: there is no such folder, and it is no hub id (organisation/name)."
        )
    return _download(source, revision)


def locate(source: str, commit: str | None) -> Path:
    """The folder of a pinned model, downloaded if need be.

    Raises:
        UnwriteError: As `resolve_source`.
    """
    return resolve_source(source, None).folder if commit is None else _download(source, commit).folder


def _is_hub_id(source: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def _download(repository: str, revision: str | None) -> Source:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The hub library changes its HTTP library between versions; its own error derives from that library's.
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]
    name = f"{repository} at {revision or 'its default branch'}"
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES))
    except GatedRepoError:
        raise UnwriteError(f"{name} is gated: accept its terms on the hub and log in with `hf auth login`.") from None
    except RepositoryNotFoundError:
        raise UnwriteError(
            f"The hub has no {repository}, or it is private: check the id, or `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise UnwriteError(f"{repository} has no revision {revision!r}: check model.revision.") from None
    except (LocalEntryNotFoundError, transport_error, OSError) as error:
        raise UnwriteError(
            f"Can't get {name} from the hub ({reason_of(error)}): check the network, or use a local folder."
        ) from error
    # The hub's cache keeps one folder a commit, named by it.
    return Source(folder, folder.name)
