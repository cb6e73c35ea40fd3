"""The packages, the Python that DVC will run stages with, and git."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from unwrite.doctor.diagnosis import Diagnosis

_SHOWN = ("torch", "transformers", "dvc")
_ASK = "import unwrite; print(unwrite.__file__)"
_UPGRADE = "pip install --upgrade 'unwrite[pipeline]'"


def examine_installation() -> Iterator[Diagnosis]:
    """Find out whether every package that the pipeline needs is there, in a version that unwrite allows."""
    requirements = importlib.metadata.requires("unwrite") or []
    problems = list(package_problems(requirements))
    yield from problems
    if not problems:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("unwrite", *_SHOWN))
        yield Diagnosis("ok", f"Python {platform.python_version()}, {versions}.")
    yield python_of_stages()
    if shutil.which("git") is None:
        yield Diagnosis("stop", "git is not installed: DVC needs it, and runs record its commit.", "install git.")


def package_problems(requirements: list[str], extra: str = "pipeline") -> Iterator[Diagnosis]:
    """Yield the packages that are missing, or of a version that is not allowed.

    Args:
        requirements: as the metadata of a package lists them.
        extra: the extra that is needed.
    """
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Diagnosis("stop", f"{requirement.name} is not installed.", f"pip install 'unwrite[{extra}]'.")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            allowed = f"{requirement.name} is {version}, and unwrite allows {requirement.specifier}."
            yield Diagnosis("stop", allowed, f"{_UPGRADE}.")


def python_of_stages() -> Diagnosis:
    """Find out whether `python`, which dvc.yaml runs, has this unwrite."""
    import unwrite

    environment = Path(sys.prefix)
    remedy = f"activate the environment first: source {environment / 'bin/activate'}."
    python = shutil.which("python")
    if python is None:
        return Diagnosis("stop", "there is no `python` on PATH, which DVC runs stages with.", remedy)
    done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        return Diagnosis("stop", f"DVC runs stages with {python}, which has no unwrite.", remedy)
    if Path(done.stdout.strip()).resolve() != Path(str(unwrite.__file__)).resolve():
        return Diagnosis("stop", f"DVC runs stages with {python}, which has another unwrite than this one.", remedy)
    return Diagnosis("ok", f"DVC runs stages with {python}, which has this unwrite.")
