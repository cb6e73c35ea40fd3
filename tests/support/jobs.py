"""What workers do in tests of the pool: quick jobs, some of which fail or end their process."""

from __future__ import annotations

import logging
import os
import signal
import socket
from pathlib import Path

import psutil

from unwrite.errors import UnwriteError
from unwrite.files.threads import Tick
from unwrite.schema.params import Runtime

TWO = Runtime(
    device="cpu",
    max_memory=None,
    offload_folder=".unwrite/offload",
    batch_tokens="auto",
    threads=1,
    backend="auto",
    trials_at_once=0,
    workers=2,
    gpus_per_worker="auto",
    progress="none",
)
"""Section `runtime` with two workers."""


def descendants() -> set[int]:
    """Return the numbers of the processes that this one started, directly or not."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


def die_once(deaths: Path, name: str, tick: Tick) -> str:
    """Do some of the work on a file, and end this process the first time that it is this one's turn."""
    tick(1)
    if not (deaths / name).exists():
        (deaths / name).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    tick(1)
    return name


def meet(address: tuple[str, int], name: str, _: Tick) -> str:
    """Connect to an address, and wait until something is sent."""
    with socket.create_connection(address, timeout=90) as connection:
        assert connection.recv(1) == b"."
    return name


def read_file(folder: Path, name: str, tick: Tick) -> bytes:
    """Return the content of a file."""
    tick(1)
    return (folder / name).read_bytes()


def make_late(address: tuple[str, int], deaths: str, name: str) -> Jobs:
    """Make the object that works once something is sent."""
    meet(address, name, lambda _=0: None)
    return Jobs(deaths, name)


class Jobs:
    """An object in a worker; mutable: it counts its calls."""

    def __init__(self, deaths: str, name: str = "") -> None:
        """Begin.

        Args:
            deaths: a folder, to remember deaths in.
            name: what `name_of` returns.
        """
        self.deaths, self.name = Path(deaths), name
        logging.getLogger("unwrite.tests").warning("a worker of tests began")

    def square(self, number: int) -> int:
        """Return the square of a number."""
        return number * number

    def name_of(self) -> str:
        """Return the name."""
        return self.name

    def threads(self) -> int:
        """Return how many threads torch uses."""
        import torch

        return torch.get_num_threads()

    def refuse(self) -> None:
        """Raise what a person can fix."""
        raise UnwriteError("the teapot is empty")

    def fail(self) -> None:
        """Raise a bug."""
        self.name[len(self.name)]

    def die(self, job: str, times: int) -> str:
        """End this process, as the system does where memory runs out, so many times in all; then return the job."""
        with (self.deaths / job).open("a") as file:
            file.write(".")
        if len((self.deaths / job).read_text()) <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return job
