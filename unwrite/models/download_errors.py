"""What goes wrong when a model is downloaded from the hub: one line each, with what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.transport import transport_error

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def download_errors(repository: str, revision: str | None, key: str) -> Iterator[None]:
    """Raise the errors of the hub and its library as expected errors while open.

    Args:
        repository: the hub id.
        revision: branch, tag or commit; None for the default branch.
        key: the section of params.yaml that names the model, for messages.

    Raises:
        UnwriteError: the hub cannot deliver the model: gated, private, missing, at its limit, unavailable, offline; or
            the hub's cache cannot be written.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{repository} at {revision or 'its default branch'}"
    try:
        yield
    except GatedRepoError:
        raise UnwriteError(
            f"{name} is gated. Accept its terms at {constants.ENDPOINT}/{repository}, log in with `hf auth login`, and "
            "run again."
        ) from None
    except RepositoryNotFoundError:
        raise UnwriteError(
            f"The hub has no {repository}, or it is private. Check the id, or log in with `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise UnwriteError(f"{repository} has no revision {revision!r}. Check {key}.revision.") from None
    except (LocalEntryNotFoundError, transport_error(), OSError, JSONDecodeError) as error:
        if isinstance(error, LocalEntryNotFoundError) and constants.is_offline_mode():
            raise UnwriteError(
                f"{name} is not in the hub's cache ({constants.HF_HUB_CACHE}), or not all of it, and HF_HUB_OFFLINE is "
                "set. Unset it to download the model, or use a local folder."
            ) from None
        # The hub's own answer, where the library reports only that its cache is empty too.
        hidden = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        cause = hidden if isinstance(hidden, Exception) else error
        raise UnwriteError(f"Cannot download {name} from the hub ({_reason(cause)}). {_remedy(cause)}") from error


def _reason(error: Exception) -> str:
    return "its answer is not JSON" if isinstance(error, JSONDecodeError) else reason_of(error)


def _remedy(error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    if status in {401, 403}:
        return "Log in with `hf auth login`, or use a local folder."
    if status == 429:
        return "It limits requests: wait some minutes and run again, or log in with `hf auth login` for a higher limit."
    if status >= 500:
        return "The hub is unavailable: run again later, or use a local folder."
    number = error.errno if isinstance(error, OSError) else None
    if number in _NO_SPACE:
        return f"Free some space in {constants.HF_HUB_CACHE}, or set HF_HOME to a folder on a larger disk."
    if number in _NO_PERMISSION:
        return f"Make {constants.HF_HUB_CACHE} writable, or set HF_HOME to a folder that is."
    mirror = "" if constants.ENDPOINT == "https://huggingface.co" else f" and HF_ENDPOINT ({constants.ENDPOINT})"
    return f"Check the network{mirror}, or use a local folder."
