"""Shards in workers: the same bytes and the same report as in threads, and a node that sees other files is refused."""

from __future__ import annotations

import platform
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.jobs import descendants, die_once, meet, read_file
from tests.support.releases import Release, failed, flip_bit, make_release
from unwrite.editing.changes import changes_of
from unwrite.editing.merging import MergedFile, merge_files
from unwrite.errors import UnwriteError
from unwrite.files.checkpoints import model_files, shard_files, stored_tensors
from unwrite.files.hashing import digest_of
from unwrite.files.tensors import read_tensors
from unwrite.files.threads import FileMap, map_in_threads
from unwrite.release.verify import verify_release
from unwrite.workers import shards
from unwrite.workers.shards import FileWorker, open_file_map

SHARED = "Workers need storage that every node shares at the same path: keep it there, or use one worker."


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def map_files(release: Release) -> Iterator[FileMap]:
    """What two workers do, two files at once each; they are gone at the end."""
    before = descendants()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "processors", lambda: 4)
        with open_file_map(2, [release.base, release.folder], 4) as opened:
            yield opened
    assert descendants() <= before


def merged(release: Release, folder: Path, map_files: FileMap) -> tuple[list[MergedFile], list[int]]:
    """Merge the release's edit into its base again, and return what was written, and the progress."""
    folder.mkdir()
    tensors = stored_tensors(release.base)
    changes = changes_of(release.recipe, tensors, read_tensors(release.folder / "directions.safetensors", "a test"))
    files = [digest_of(release.base / name, name) for name in model_files(release.base)]
    advanced: list[int] = []
    written = merge_files(release.base, folder, files, tensors, changes, advance=advanced.append, map_files=map_files)
    return written, advanced


def test_merging_in_workers_writes_the_same_bytes(release: Release, map_files: FileMap, tmp_path: Path) -> None:
    expected, steps = merged(release, tmp_path / "threads", map_in_threads(1))
    actual, advanced = merged(release, tmp_path / "workers", map_files)
    assert actual == expected
    assert sum(advanced) == sum(steps) == len(release.recipe.edits)
    assert len(expected) > len(shard_files(release.base)) == 2
    for file in expected:
        name = file.digest.name
        assert (tmp_path / "workers" / name).read_bytes() == (tmp_path / "threads" / name).read_bytes()


def test_verifying_in_workers_gives_the_same_report(release: Release, map_files: FileMap) -> None:
    report = verify_release(release.folder, release.base)
    assert report.passed
    assert verify_release(release.folder, release.base, map_files=map_files) == report
    flip_bit(release.folder, "lm_head.weight")
    tampered = verify_release(release.folder, release.base, map_files=map_files)
    assert "lm_head.weight differs from the base: 1 of" in failed(tampered)["unedited tensors"]
    assert tampered == verify_release(release.folder, release.base)
    flip_bit(release.folder, "lm_head.weight")
    assert verify_release(release.folder, map_files=map_files) == verify_release(release.folder)


def test_a_base_that_changed_is_refused_with_the_same_message(
    release: Release, map_files: FileMap, tmp_path: Path
) -> None:
    files = [digest_of(release.base / name, name) for name in model_files(release.base)]
    shard = release.base / shard_files(release.base)[1]
    before = shard.read_bytes()
    shard.write_bytes(before[:-1] + b"?")
    said = []
    for name, mapped in (("threads", map_in_threads(1)), ("workers", map_files)):
        (tmp_path / name).mkdir()
        tensors = stored_tensors(release.base)
        with pytest.raises(UnwriteError, match=f"{shard.name} has sha256") as error:
            merge_files(release.base, tmp_path / name, files, tensors, {}, advance=lambda _: None, map_files=mapped)
        said.append(str(error.value))
    shard.write_bytes(before)
    assert said[0] == said[1]


def test_workers_share_the_processors_of_a_machine(map_files: FileMap) -> None:
    names = ["one", "two", "three", "four"]
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        server.settimeout(60)

        def let_four_go() -> None:
            waiting = [server.accept()[0] for _ in names]
            for connection in waiting:
                connection.sendall(b".")
                connection.close()

        gone = thread.submit(let_four_go)
        assert map_files(partial(meet, server.getsockname()), names) == names
        gone.result()


def test_work_whose_worker_died_is_done_again(map_files: FileMap, tmp_path: Path) -> None:
    advanced: list[int] = []
    names = ["one", "two", "three"]
    assert map_files(partial(die_once, tmp_path), names, advanced.append) == names
    assert sum(advanced) == 6


def test_a_folder_that_is_not_there_is_named_with_the_node(map_files: FileMap, tmp_path: Path) -> None:
    with pytest.raises(UnwriteError) as error:
        map_files(partial(read_file, tmp_path), ["tea"])
    assert str(error.value) == f"{tmp_path / 'tea'} is missing on {platform.node()}. {SHARED}"
    (tmp_path / "tea").mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        map_files(partial(read_file, tmp_path), ["tea"])


def test_a_node_that_sees_other_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"tea")
    stamp = path.stat().st_size, path.stat().st_mtime_ns
    assert FileWorker(partial(read_file, tmp_path), {path: stamp}).do(path.name) == (b"tea", 1)
    with pytest.raises(UnwriteError, match=f"^{path} on {platform.node()} is another file than the driver's. {SHARED}"):
        FileWorker(partial(read_file, tmp_path), {path: (stamp[0], stamp[1] + 1)})
    path.unlink()
    with pytest.raises(UnwriteError, match=f"^{path} is missing on {platform.node()}. {SHARED}"):
        FileWorker(partial(read_file, tmp_path), {path: stamp})


@pytest.mark.parametrize(("workers", "shards"), [(1, 9), (2, 1), ("auto", 9)])
def test_threads_of_this_process_need_no_ray(
    workers: int | str, shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shutil.copy(__file__, tmp_path / "one")
    with open_file_map(workers, [tmp_path], shards) as mapped:
        assert mapped(partial(read_file, tmp_path), ["one"]) == [Path(__file__).read_bytes()]
    with pytest.raises(ModuleNotFoundError), open_file_map(2, [tmp_path], 9):
        pass
