"""How every command runs: logs and output set up, and an expected error as one or two lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec

import click

from unwrite.errors import UnwriteError, missing_package, refused_file
from unwrite.pipeline.logs import log_to_stderr
from unwrite.pipeline.output import checked_output
from unwrite.pipeline.start import INTERRUPTED

P = ParamSpec("P")
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def expected_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Show an expected error as one or two lines with exit code 1; a bug keeps its traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with log_to_stderr(), checked_output():
                command(*args, **kwargs)
        except UnwriteError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            _fail_if_expected(missing_package(f"unwrite {click.get_current_context().info_name}", error), error)
        except OSError as error:
            _fail_if_expected(refused_file(error), error)

    return wrapped


@contextmanager
def output_checked() -> Iterator[None]:
    """Show that the output cannot be written as one line with exit code 1, outside of any command too."""
    try:
        with checked_output():
            yield
    except UnwriteError as error:
        _fail(error)


def _fail_if_expected(error: Exception, original: Exception) -> None:
    if not isinstance(error, UnwriteError):
        raise original
    _fail(error)


def _fail(error: UnwriteError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(1)
