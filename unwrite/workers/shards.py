"""The files of a checkpoint read by workers that hold no model, wherever these see them: a file at a time."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from unwrite.errors import UnwriteError
from unwrite.files.threads import FileMap, Tick, ignore_progress, map_in_threads, processors
from unwrite.workers.cluster import ADDRESS
from unwrite.workers.pool import Pool, open_pool

T = TypeVar("T")
R = TypeVar("R")

_Work = Callable[[Any, Tick], Any]
_Stamp = tuple[int, int]
_SHARED = "Workers need storage that every node shares at the same path: keep it there, or use one worker."


class Readers(NamedTuple):
    """Workers that only read and write: they need no GPU, and one thread for each file."""

    workers: int | str
    device: str = "cpu"
    threads: int = 1
    gpus_per_worker: int | Literal["auto"] = 0


class FileWorker:
    """What a worker does to the files that it is given."""

    def __init__(self, work: _Work, stamps: Mapping[Path, _Stamp]) -> None:
        """Begin.

        Args:
            work: called with an item and a function to call often.
            stamps: size and time of last change of the files that the driver sees.

        Raises:
            UnwriteError: this node lacks one, or has another one.
        """
        for path, stamp in stamps.items():
            if not path.is_file():
                raise _missing(path)
            if _stamp(path) != stamp:
                raise UnwriteError(f"{path} on {platform.node()} is another file than the driver's. {_SHARED}")
        self._work = work

    def do(self, item: Any) -> tuple[Any, int]:
        """Return the result of the work for an item, or the system's error, and how many units were done.

        Raises:
            UnwriteError: the work raised one, or this node lacks a file or a folder.
        """
        done = 0

        def tick(more: int = 0, /) -> None:
            nonlocal done
            done += more

        try:
            return self._work(item, tick), done
        except FileNotFoundError as error:
            raise _missing(Path(error.filename).absolute()) from None
        except OSError as error:
            return error, done


@contextmanager
def open_file_map(workers: int | str, folders: Sequence[Path], shards: int) -> Iterator[FileMap]:
    """Yield what works on several files of a checkpoint at once: workers, or threads where these are as fast.

    That is with one worker or one shard, and on this machine alone if no number of workers is named. A number of
    workers on this machine share its processors: each of them works on several files at once.

    Args:
        workers: `runtime.workers`.
        folders: folders with what is read.
        shards: how many large files there are.

    Raises:
        UnwriteError: as in `open_pool`.
        ModuleNotFoundError: Ray is not installed.
    """
    is_here = workers == "auto" and not os.environ.get(ADDRESS)
    if workers == 1 or shards < 2 or is_here:
        yield map_in_threads(processors())
        return
    at_once = max(1, processors() // workers) if isinstance(workers, int) else 1
    with open_pool(Readers(workers), -(-shards // at_once), at_once) as pool:
        yield _map_in_workers(pool, folders, at_once)


def _map_in_workers(pool: Pool, folders: Sequence[Path], at_once: int) -> FileMap:
    def mapped(
        work: Callable[[T, Tick], R], items: Sequence[T], advance: Callable[[int], None] = ignore_progress
    ) -> list[R]:
        if not items:
            return []
        pool.prepare(partial(FileWorker, work, _stamps(folders)), again=True)
        results: dict[int, R] = {}
        for number, found in pool.run("do", [(item,) for item in items], ahead=at_once - 1):
            if isinstance(found, UnwriteError):
                raise found
            result, done = found
            if isinstance(result, OSError):
                raise result
            results[number] = result
            advance(done)
        return [results[number] for number in range(len(items))]

    return mapped


def _stamps(folders: Sequence[Path]) -> dict[Path, _Stamp]:
    files = (path.absolute() for folder in folders for path in folder.glob("*") if path.is_file())
    return {path: _stamp(path) for path in files}


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _missing(path: object) -> UnwriteError:
    return UnwriteError(f"{path} is missing on {platform.node()}. {_SHARED}")
