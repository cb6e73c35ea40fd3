"""Where workers run: what is refused before Ray starts, and what a cluster that cannot be reached says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.jobs import TWO, descendants
from unwrite.errors import UnwriteError, missing_package
from unwrite.workers import cluster as cluster_module
from unwrite.workers.cluster import open_cluster

READS = "import sys; sys.exit(len(sys.stdin.read()) == 0)"


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError) as missing, open_cluster(TWO):
        pass
    said = str(missing_package("optimize_weights", missing.value))
    assert said == "optimize_weights needs Ray: pip install 'unwrite[cluster]'."


@pytest.mark.parametrize(
    ("changes", "gpus", "said"),
    [
        ({"device": "cuda"}, 0, r"2 workers .* need a GPU each .* has none"),
        ({"device": "auto"}, 1, r"2 workers .* need a GPU each, and this machine .* has 1\."),
        ({"gpus_per_worker": 2}, 3, r"2 workers .* need 2 GPUs each, and this machine .* has 3\."),
        ({"device": "cuda:0"}, 2, r"got cuda:0: each is given its own GPU"),
    ],
)
def test_gpus_that_are_not_there_are_refused_before_anything_starts(
    changes: dict[str, object], gpus: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descendants()
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(UnwriteError, match=said), open_cluster(TWO.model_copy(update=changes)):
        pass
    assert descendants() == before
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"  # no server is asked


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate()
    return process.returncode


def test_a_start_that_takes_too_long_is_tried_again_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descendants()
    starts: list[subprocess.Popen[bytes]] = []

    def slow(**_: object) -> None:
        starts.append(subprocess.Popen([sys.executable, "-c", READS], stdin=subprocess.PIPE))
        if len(starts) < 3:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", slow)
    with open_cluster(TWO) as cluster:
        assert cluster.size == 2
        assert [ended(start) for start in starts[:2]] == [-signal.SIGKILL] * 2
        assert starts[2].poll() is None
    assert ended(starts[2]) == 1  # it has read to the end of its input
    starts[:] = []
    monkeypatch.setattr(cluster_module, "_MOST_STARTS", 2)
    with pytest.raises(UnwriteError, match="Ray cannot be started: this machine is so busy"), open_cluster(TWO):
        pass
    assert [ended(start) for start in starts] == [-signal.SIGKILL] * 2
    assert descendants() == before


def test_a_cluster_that_cannot_be_reached_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: str, **_: object) -> None:
        raise ConnectionError(f"could not\nreach {address}")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(UnwriteError) as error, open_cluster(TWO.model_copy(update={"workers": "ray://head:10001"})):
        pass
    assert str(error.value).startswith("No Ray cluster can be reached at ray://head:10001 (could not")
    assert "\n" not in str(error.value)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(UnwriteError, match="at head:6379"), open_cluster(TWO.model_copy(update={"workers": "auto"})):
        pass
