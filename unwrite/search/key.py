"""The name of a search: a digest of everything that decides its trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from unwrite.files.hashing import sha256_of

SEARCH_FORMAT = 3
"""The format of a search's record. It is part of the key, so a record of another format is never read."""

_LIBRARIES = ("numpy", "optuna", "scipy", "torch", "transformers")


def search_key(inputs: Mapping[str, Any], script: Path) -> str:
    """Return the sha256 of everything that decides the trials of a search.

    That is its inputs and the code that makes trials of them: a script with all its imports from its own package, and
    the libraries that sample and compute. Imports are read from the sources, in less than a tenth of a second, because
    the modules that Python has loaded depend on the caller.

    Args:
        inputs: JSON values.
        script: a stage.
    """
    code = {path: sha256_of(script.parents[2] / path) for path in _imported(script)}
    libraries = {name: version(name) for name in _LIBRARIES}
    return digest({"format": SEARCH_FORMAT, "code": code, "libraries": libraries, **inputs})


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the JSON text of a value with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _imported(script: Path) -> list[str]:
    """Return the script and the files of its package that it imports, at the top of a module or inside a function."""
    package, home = script.parents[1], script.parents[2]
    # Installed, the package lies beside all others, whose imports would take minutes to read; and ModuleFinder fails on
    # those without an __init__.py.
    others = {path.name.partition(".")[0] for path in home.iterdir()} - {package.name}
    finder = ModuleFinder(path=[str(home)], excludes=others)
    finder.run_script(str(script))
    # typeshed lacks modulefinder.Module.__file__
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return sorted(str(Path(file).relative_to(home)) for file in files if file)
