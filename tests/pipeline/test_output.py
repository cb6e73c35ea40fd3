"""A full output is one line, a character that its encoding lacks is replaced, and a closed one is no error."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
from unwrite.errors import UnwriteError
from unwrite.pipeline.output import checked_output
import sys
try:
    with checked_output():
        print("0–5 λ")
except UnwriteError as error:
    sys.stderr.write(f"error: {error}")
"""


def shell(redirect: str, encoding: str = "utf-8") -> tuple[int, str, bytes]:
    done = subprocess.run(
        f'"$PYTHON" -c "$SCRIPT" {redirect}',
        shell=True,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHON": sys.executable, "SCRIPT": SCRIPT, "PYTHONIOENCODING": encoding},
    )
    return done.returncode, done.stderr.decode(), done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_output_is_one_line() -> None:
    assert shell("> /dev/full") == (0, "error: the output cannot be written (No space left on device).", b"")


def test_characters_that_the_encoding_lacks_are_replaced() -> None:
    assert shell("", "latin-1") == (0, "", b"0?5 ?\n")
    assert shell("") == (0, "", "0–5 λ\n".encode())


def test_a_closed_output_is_no_error() -> None:
    assert shell(">&-") == (0, "", b"")
