"""The place of a local model, also in an experiment's temporary copy of the project, which lacks what git ignores."""

from __future__ import annotations

import os
from pathlib import Path


def local_folder(source: str) -> Path:
    """Return the path of a model's folder or GGUF file, whether it exists or not.

    Args:
        source: a folder, a GGUF file, or a hub id.

    Returns:
        `source` itself, or, if that does not exist here, what has this name in the project that the experiment belongs
        to.
    """
    folder, project = Path(source), parent_project()
    if project is not None and not folder.exists() and (project / folder).exists():
        return project / folder
    return folder


def parent_project() -> Path | None:
    """Return the folder like this one in the project that we are a temporary copy of; None if we are in no such copy.

    In the copies that `dvc exp run --temp` and the queue make, DVC's variable DVC_ROOT names the original.
    """
    original, here = os.environ.get("DVC_ROOT"), Path.cwd()
    copy = next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), None)
    if not original or copy is None or Path(original).resolve() == copy.resolve():
        return None
    return Path(original) / here.relative_to(copy)
