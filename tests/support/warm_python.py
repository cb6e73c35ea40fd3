"""A Python that has imported the heavy libraries once, and forks for each program: a stage starts in no time.

Importing torch and transformers is nine tenths of what a stage of the small workspace costs. A program runs here as it
would from its own command line: in a process of its own, with its own folder, environment, streams and exit status, and
it imports the project's code itself. The one difference is that it finds the libraries imported. Whoever kills a stage,
or asks what it imports or records of its process, needs the real Python.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.generation",
    "safetensors.torch",
    "scipy.stats",
    "optuna",
    "pydantic",
    "ruamel.yaml",
    "jinja2",
    "altair",
    "vl_convert",
    "sklearn.metrics",
    "statsmodels.stats.multitest",
)
OWN = {"tests", "unwrite"}  # packages that each program imports for itself
CLIENT = """
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(request)
sys.exit(int(connection.makefile().read() or 1))
"""


@contextmanager
def warm_python() -> Iterator[Path]:
    """Start such a Python, and yield a folder to put first on PATH: its `python` runs there."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        folder = Path(name)  # not a test's own: the path of a socket must be short
        listener.bind(str(folder / "socket"))
        listener.listen()
        (folder / "client.py").write_text(CLIENT.format(address=listener.getsockname()))
        (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{folder}/client.py" "$@"\n')
        (folder / "python").chmod(0o755)
        command = [sys.executable, "-m", __name__, str(listener.fileno())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()]) as process:
            yield folder
            process.communicate()  # it ends when its stdin does
        assert process.returncode == 0


def main() -> None:
    """Import the libraries, and fork for each connection until stdin ends."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()  # a fork's collections would copy all of these objects
    while listener in select.select([sys.stdin, listener], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _answer(connection: socket.socket) -> NoReturn:
    """Run the program in a process of its own, and tell how it ended."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    arguments, folder, environment = json.loads(connection.makefile("rb").read(int.from_bytes(length, "big")))
    process = os.fork()
    if process == 0:
        connection.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
            os.close(stream)
        _become(folder, environment)
        _run(arguments)
    _, status = os.waitpid(process, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
    os._exit(0)


def _become(folder: str, environment: dict[str, str]) -> None:
    """Give this process the folder, the environment and the path of imports of a new one."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    given = environment.get("PYTHONPATH", "")
    sys.path[:1] = [folder, *(str(Path(one).resolve()) for one in given.split(os.pathsep) if one)]
    for name in [one for one in sys.modules if one.split(".")[0] in OWN]:
        del sys.modules[name]
    invalidate_caches()


def _run(arguments: Sequence[str]) -> NoReturn:
    """Run `python -m MODULE ARGUMENTS`, and leave without the half second that taking the libraries down would cost."""
    assert arguments[0] == "-m", f"the warm Python runs modules only, got {arguments}"
    sys.orig_argv = ["python", *arguments]
    sys.argv = ["-m", *arguments[2:]]  # what Python leaves there while it imports the module's package
    status = 0
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does at the end of a program
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
