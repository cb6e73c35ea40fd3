"""What git and download tools leave in a folder: known by name, set aside, and refused if it holds anything else."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from unwrite.release.untrusted import is_plain_file

_FILES = frozenset({".gitattributes", ".msc", ".mdl", ".mv"})
"""Left at the top of a folder: by git and the hub, and by ModelScope's downloads."""
_HUB = re.compile(r"\.gitignore|CACHEDIR\.TAG|(download|upload)(/.+)?/[^/]+\.(metadata|lock|incomplete)")
_LOADABLE = re.compile(
    r".*\.(safetensors|bin|pt|pth|ckpt|pkl|gguf|onnx|msgpack|h5|npz|json|py|so|jinja|model|tiktoken|txt|ya?ml)", re.I
)
_BRANCHES = ("refs/", "logs/refs/")  # a branch may be called anything


class SetAside(NamedTuple):
    """What belongs to tools and not to a release.

    Attributes:
        names: entries at the top of the folder that are not the release's.
        found: what is said about them, one entry each.
        problems: files in there that no tool leaves, one sentence each.
    """

    names: frozenset[str]
    found: list[str]
    problems: list[str]


def set_aside(folder: Path) -> SetAside:
    """Find what git and download tools left in the folder of a release.

    These are `.git`, `.gitattributes`, `.cache/huggingface` (`hf download`), `.huggingface` (its earlier name), and the
    marks of ModelScope. A file that a loader could read is none of theirs, wherever it lies, and neither is a link.
    """
    names: set[str] = set()
    found: list[str] = []
    problems: list[str] = []
    for top, label, is_a_tools in _FOLDERS:
        place = folder / top
        if _is_folder(place):
            names.add(top)
            found.append(label)
            inner = ((path, path.relative_to(place).as_posix()) for path in _walk(place))
            problems += [
                f"{top}/{name} is not what git or a download tool leaves"
                for path, name in inner
                if not (_is_regular(path) and is_a_tools(name))
            ]
    for name in sorted((_FILES | {".git"}) - names):
        if is_plain_file(folder, name) and _is_regular(folder / name):
            names.add(name)
            found.append(name)
    return SetAside(frozenset(names), found, problems)


def _is_in_cache(inner: str) -> bool:
    return inner.startswith("huggingface/") and _is_hubs(inner.removeprefix("huggingface/"))


def _is_hubs(inner: str) -> bool:
    return _HUB.fullmatch(inner) is not None


def _is_gits(inner: str) -> bool:
    return inner.startswith(_BRANCHES) or _LOADABLE.fullmatch(inner) is None


_FOLDERS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    (".cache", ".cache/huggingface", _is_in_cache),
    (".huggingface", ".huggingface", _is_hubs),
    (".git", ".git", _is_gits),
)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder that is not a folder itself; links are not followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder  # a folder that cannot be read is no file of a tool
        return
    for path in entries:
        if _is_folder(path):
            yield from _walk(path)
        else:
            yield path


def _is_folder(path: Path) -> bool:
    return _mode(path, stat.S_ISDIR)


def _is_regular(path: Path) -> bool:
    return _mode(path, stat.S_ISREG)


def _mode(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return whether a path itself, not what it links to, is of a kind."""
    try:
        return is_kind(path.lstat().st_mode)
    except OSError:
        return False
