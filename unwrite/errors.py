"""The exception for errors that a user can fix: shown as one or two lines, exit code 1, no traceback."""

import errno
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

_OPTIONAL = {  # top-level module: the package's name, and the extra of unwrite that installs it
    "bitsandbytes": ("bitsandbytes", "quantized"),
    "model_signing": ("model-signing", "signing"),
    "OpenSSL": ("pyOpenSSL", "signing"),
    "lm_eval": ("lm-eval", "benchmarks"),
    "datasets": ("datasets", "datasets"),
    "pyarrow": ("pyarrow", "datasets"),
    "pacmap": ("PaCMAP", "maps"),
    "ray": ("Ray", "cluster"),
    "grpc": ("Ray", "cluster"),
    "accelerate": ("accelerate", "pipeline"),
    "altair": ("Altair", "pipeline"),
    "dvc": ("DVC", "pipeline"),
    "dvc_data": ("DVC", "pipeline"),
    "filelock": ("filelock", "pipeline"),
    "optuna": ("Optuna", "pipeline"),
    "peft": ("PEFT", "pipeline"),
    "scipy": ("SciPy", "pipeline"),
    "sklearn": ("scikit-learn", "pipeline"),
    "statsmodels": ("statsmodels", "pipeline"),
    "tqdm": ("tqdm", "pipeline"),
    "vl_convert": ("vl-convert-python", "pipeline"),
}


_REFUSED = {
    "Free space": {errno.ENOSPC, errno.EDQUOT, errno.EFBIG},
    "Fix the permissions": {errno.EACCES, errno.EPERM, errno.EROFS},
    "Shorten the name": {errno.ENAMETOOLONG},
    "Remove the link that leads back to itself": {errno.ELOOP},
    "Check the disk": {errno.EIO},
}
"""What to do, and the system's reasons that need it."""


class UnwriteError(Exception):
    """An expected error.

    Its message states the problem, what was expected, and what to do. Any other exception is a bug and keeps its
    traceback.
    """


def missing_package(needed_by: str, error: ModuleNotFoundError) -> Exception:
    """Return an error that names the extra that installs a missing package; for any other module, `error` itself."""
    module = (error.name or "").partition(".")[0]
    if module not in _OPTIONAL:
        return error
    package, extra = _OPTIONAL[module]
    return UnwriteError(f"{needed_by} needs {package}: pip install 'unwrite[{extra}]'.")


def refused_file(error: OSError) -> Exception:
    """Return why the system refuses a file, and what to do; for any other reason, such as a missing file, `error`."""
    remedy = next((remedy for remedy, reasons in _REFUSED.items() if error.errno in reasons), None)
    if remedy is None:
        return error
    where = f"{error.filename}: " if error.filename else ""
    return UnwriteError(f"{where}{error.strerror}. {remedy}, then try again.")


def reason_of(error: BaseException) -> str:
    """Return a library's message in one line of at most 300 characters, or the error's type if the message is empty."""
    return textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__


def git_refusal(reason: str) -> UnwriteError:
    """Return git's reason not to read a repository as an error of one line, with the remedy if it is the owner.

    Args:
        reason: what git, or a library that reads repositories, said.
    """
    text = " ".join(reason.removeprefix("fatal: ").split("To add an exception")[0].split()).rstrip(".")
    folder = re.search(r"(?:in repository at|repository path) '(.+?)/?'", text)
    remedy = f" If you trust its owner, run `git config --global --add safe.directory '{folder[1]}'`." if folder else ""
    return UnwriteError(f"git refuses to read this repository: {text}.{remedy}")


@contextmanager
def as_user_error(subject: str, remedy: str = "") -> Iterator[None]:
    """Raise a `ValueError` of the enclosed call as an `UnwriteError`: `core` rejected a value that a user can change.

    Enclose one call where possible. A `ValueError` that no user can cause is a bug and keeps its traceback.

    Args:
        subject: what the value belongs to, such as the name of a parameter or a file.
        remedy: what to do, one or two sentences.

    Raises:
        UnwriteError: the enclosed call raised `ValueError`.
    """
    try:
        yield
    except ValueError as error:
        raise UnwriteError(f"{subject}: {error}. {remedy}".rstrip()) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; torch has an exception for it on some devices, elsewhere we match the message."""
    signs = ("out of memory", "can't allocate memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(sign in str(error) for sign in signs)
