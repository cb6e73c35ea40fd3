"""What workers say, shown once; and a warning where they compute on different hardware."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from unwrite.pipeline.environment import Environment
from unwrite.workers.host import Message

logger = logging.getLogger(__name__)


class Notices:
    """What workers have said so far; mutable.

    Attributes:
        environment: what the first worker computes on; None before one is ready.
    """

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.environment: Environment | None = None
        self._said: set[Message] = set()

    def show(self, said: Iterable[Message]) -> None:
        """Log what a worker said, unless another one said it before: all say the same when they start."""
        for level, text in said:
            if (level, text) not in self._said:
                self._said.add((level, text))
                logger.log(level, text)

    def compare(self, worker: str, environment: Environment) -> None:
        """Warn if a worker computes on something else than the first one.

        Args:
            worker: its name.
            environment: what it computes on.
        """
        if self.environment is None:
            self.environment = environment
        elif environment.hardware != self.environment.hardware:
            warning = (
                f"Workers run on {self.environment.hardware} and on {environment.hardware} ({worker}), which round "
                "differently: what is measured depends on which of them measures it."
            )
            self.show([(logging.WARNING, warning)])
