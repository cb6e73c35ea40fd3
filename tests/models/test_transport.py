"""The class covers the errors of the hub library and of its HTTP library, and no others."""

import importlib

from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from unwrite.models.transport import transport_error


def test_errors_of_the_hub_library_derive_from_it() -> None:
    assert issubclass(HfHubHTTPError, transport_error())
    assert issubclass(RepositoryNotFoundError, transport_error())


def test_errors_of_the_http_library_derive_from_it() -> None:
    library = importlib.import_module(transport_error().__module__.partition(".")[0])
    assert issubclass(library.ConnectError, transport_error())
    assert issubclass(library.ReadTimeout, transport_error())


def test_other_errors_do_not() -> None:
    assert not issubclass(ValueError, transport_error())
    assert not issubclass(OSError, transport_error())
