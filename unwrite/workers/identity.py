"""What must be the same in every process that shares work: Python, the packages that compute, and unwrite's code."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).parents[1]


class Identity(NamedTuple):
    """The versions of one process; "none" stands for a package that is not installed.

    python: without its last part, which changes no format.
    code: sha256 of unwrite's sources.
    """

    python: str
    torch: str
    transformers: str
    unwrite: str
    code: str


def own_identity() -> Identity:
    """Return the versions of this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    torch, transformers, unwrite = map(_version, ("torch", "transformers", "unwrite"))
    return Identity(python, torch, transformers, unwrite, code_sum(_PACKAGE))


def code_sum(package: Path) -> str:
    """Return the sha256 of the sources of a package: of each file's name and content, by name."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def difference(driver: Identity, worker: Identity) -> str | None:
    """Say what a worker has in place of what the driver has; None if both have the same.

    A clone can run without being installed, so that the version of unwrite counts only where its code differs too.
    """
    for name in ("python", "torch", "transformers"):
        here, there = getattr(driver, name), getattr(worker, name)
        if here != there:
            return f"{name} {there}, and this process has {here}"
    if driver.code == worker.code:
        return None
    if driver.unwrite != worker.unwrite:
        return f"unwrite {worker.unwrite}, and this process has {driver.unwrite}"
    return f"other code of unwrite ({worker.code[:12]}…) than this process ({driver.code[:12]}…)"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
