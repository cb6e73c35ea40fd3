"""Ray's folder is deleted with the run, or by the next run if the driver was killed; never under a running driver."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from unwrite.workers.ray_folder import ray_folder

HOLDS = """
import sys
from unwrite.workers.ray_folder import ray_folder
with ray_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder for temporary ones, with a name as short as Ray needs, which tmp_path has not."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="") as folder:  # 13 characters
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def test_it_is_deleted_at_the_end(parent: Path) -> None:
    with ray_folder() as folder:
        assert Path(folder).parent == parent
    assert list(parent.iterdir()) == []


def test_what_a_killed_driver_left_is_deleted_and_what_another_one_uses_is_not(parent: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        used = Path(driver.stdout.readline().strip())
        with ray_folder() as own:
            assert set(parent.iterdir()) == {used, Path(own)}
        driver.kill()
        driver.wait()
        assert list(parent.iterdir()) == [used]
        with ray_folder() as own:
            assert list(parent.iterdir()) == [Path(own)]


def test_folders_that_no_driver_made_stay(parent: Path) -> None:
    (parent / "unwrite-ray-new").mkdir()  # another driver is about to take its lock
    elsewhere = parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "driver.lock").touch()
    (parent / "unwrite-ray-link").symlink_to(elsewhere)
    with ray_folder():
        pass
    assert (elsewhere / "driver.lock").exists()
    assert {path.name for path in parent.iterdir()} == {"unwrite-ray-new", "unwrite-ray-link", "elsewhere"}


@pytest.mark.parametrize(("length", "is_used"), [(17, True), (18, False)])
def test_a_path_that_leaves_no_room_for_rays_sockets_is_avoided(
    parent: Path, length: int, is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = parent / ("x" * (length - len(str(parent)) - 1))
    named.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(named))
    with ray_folder() as folder:
        assert Path(folder).parent == (named if is_used else Path("/tmp"))
