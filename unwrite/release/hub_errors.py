"""Errors of the hub, explained by what it answered and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.transport import transport_error

_REMEDIES = {
    401: "Log in with `hf auth login`, using a token that can write to {repository}.",
    403: "The token cannot write to {repository}: log in with one that can (`hf auth login`), or choose another name.",
    404: "{repository} does not exist, or the token cannot see it: check the name, or log in with `hf auth login`.",
    409: "{repository} exists but the token cannot see it, or it is being changed: choose another name, or wait.",
    412: "{repository} was changed during the upload: look at that change, then upload again.",
    429: "The hub limits the number of requests: wait a few minutes.",
}
_OTHER_REMEDY = "The hub does not accept this release."


@contextmanager
def hub_errors_explained(repository: str, state: str) -> Iterator[None]:
    """Raise errors of the hub or its library as expected errors while open.

    Args:
        repository: name of the repository, for the remedy.
        state: last line of the message: the state that the repository is in.
    """
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except KeyboardInterrupt:
        raise UnwriteError(f"Interrupted.\n{state}") from None
    except HFValidationError as error:
        raise UnwriteError(f"{repository!r} is not a valid repository name: {reason_of(error)}") from None
    except OfflineModeIsEnabled:
        raise UnwriteError("An upload needs the hub, but HF_HUB_OFFLINE is set: unset it.") from None
    except hub_error_types() as error:
        raise UnwriteError(f"{describe(error)} {_remedy(error, repository)}\n{state}") from error
    except RuntimeError as error:  # the hub's library wraps an error of a large file in one
        if not isinstance(error.__cause__, Exception):
            raise UnwriteError(f"A file could not be sent ({reason_of(error)}).\n{state}") from error
        with hub_errors_explained(repository, state):
            raise error.__cause__ from None
    except (ValueError, OSError) as error:
        raise UnwriteError(f"The upload stopped: {reason_of(error)}\n{state}") from error


def hub_error_types() -> tuple[type[Exception], ...]:
    """Return every class of error that an exchange with the hub can raise.

    Xet raises Python's own connection errors; a proxy that is out of order answers with something other than JSON.
    """
    return (transport_error(), ConnectionError, TimeoutError, JSONDecodeError)


def status_of(error: Exception) -> int | None:
    """Return the status that the hub answered with; None if there was no answer."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def describe(error: Exception) -> str:
    """Return what the hub answered, or that it did not, as a sentence."""
    if isinstance(error, JSONDecodeError):
        return "The hub returned an invalid response (not JSON)."
    status = status_of(error)
    if status is None:
        return f"The connection to the hub failed ({reason_of(error)})."
    message = getattr(error, "server_message", None)
    return f"The hub answered {status}{f': {reason_of(UnwriteError(message))}' if message else ''}."


def _remedy(error: Exception, repository: str) -> str:
    status = status_of(error)
    if status is None:
        return "Check the network."
    if status >= 500:
        return "The hub is unavailable: try again later."
    return _REMEDIES.get(status, _OTHER_REMEDY).format(repository=repository)
