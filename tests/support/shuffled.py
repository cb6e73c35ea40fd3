"""Workers of this process in place of a pool: each job goes to one of them by chance, and jobs end by chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from unwrite.errors import UnwriteError
from unwrite.pipeline.environment import Environment, current_environment


class Shuffled:
    """Two workers; mutable.

    Attributes:
        made: the objects that they made.
        makers: what made them.
    """

    def __init__(self, lost: int | None = None, *, loses: str = "") -> None:
        """Begin.

        Args:
            lost: number of a job that is lost.
            loses: the method whose job it is; every method if empty.
        """
        self.made: list[Any] = []
        self.makers: list[Any] = []
        self._lost, self._loses = lost, loses
        self._chance = random.Random(1)

    def prepare(self, make: Callable[[], Any], most: int | None = None, *, again: bool = False) -> None:
        """Make an object in one worker or in both."""
        if again:
            self.made.clear()
        while len(self.made) < (most or 2):
            self.makers.append(make)
            self.made.append(make())

    def wait_until_ready(self) -> None:
        """Return at once."""
        assert self.made

    def describe(self) -> str:
        """Say that two workers run one job."""
        return "1 running on 2 workers"

    def environment(self, dtype: str) -> Environment:
        """Return that of this process."""
        return current_environment(dtype)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Ask the first worker."""
        return getattr(self.made[0], method)(*arguments)

    def run(self, method: str, jobs: Sequence[tuple[Any, ...]], *, ahead: int = 0) -> Iterator[tuple[int, Any]]:
        """Run the jobs."""
        assert ahead >= 0
        for number in self._chance.sample(range(len(jobs)), len(jobs)):
            if number == self._lost and self._loses in {"", method}:
                yield number, UnwriteError("3 workers died of it")
            else:
                yield number, getattr(self._chance.choice(self.made), method)(*jobs[number])

    @contextmanager
    def opened(self, *_: object) -> Iterator[Shuffled]:
        """Stand for `open_pool`."""
        yield self
