"""A search in real processes: drivers, workers and nodes are killed in the middle of it, and the trials are the same.

`make test-cluster` runs these; each starts Ray.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.small_project import ROOT, small_params

pytestmark = pytest.mark.cluster

TRIALS = Path("artifacts/trials.csv")
STAGE = [sys.executable, "-m", "unwrite.stages.optimize_weights"]
RAY = str(Path(sys.executable).with_name("ray"))
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    "PYTHONPATH": str(ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",  # by default it depends on whether this user has ever made a token
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}


def write_params(workers: int | str, **changes: object) -> None:
    """Write a params.yaml for twelve trials, six at a time."""
    params = small_params()
    optimize = params.optimize.model_copy(update={"trials": 12, "batch": 6, "random_trials": 6})
    runtime = params.runtime.model_copy(update={"workers": workers, "progress": "lines", **changes})
    update = {"optimize": optimize, "runtime": runtime}
    Path("params.yaml").write_text(params.model_copy(update=update).model_dump_json())


def without_seconds() -> list[str]:
    return [line.rpartition(",")[0] for line in TRIALS.read_text().splitlines()]


@pytest.fixture
def expected(project: Path) -> list[str]:
    """The trials of an undisturbed search in one process; nothing of it is left for another one to find."""
    write_params(1)
    subprocess.run(STAGE, env=ENVIRONMENT, capture_output=True, check=True)
    trials = without_seconds()
    assert len(trials) == 13
    shutil.rmtree(".unwrite/search")
    TRIALS.unlink()
    return trials


@contextmanager
def search(**environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the stage in a process group of its own."""
    with subprocess.Popen(
        STAGE,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.kill()


def wait_for_first_batch(process: subprocess.Popen[str]) -> None:
    """Return when the table holds a batch, and the next one is being measured."""
    while not TRIALS.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def title(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that the stage has started, but Ray's agents, which compute nothing and end later."""
    started = psutil.Process(process.pid).children(recursive=True)
    return [one for one in started if not title(one).startswith(("ray::RuntimeEnvAgent", "ray::DashboardAgent"))]


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end of a stage that must succeed, and return what it printed."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out, err


def test_two_workers_make_the_trials_of_one_process(expected: list[str]) -> None:
    write_params(2)
    with search() as process:
        out, err = end(process)
    assert without_seconds() == expected
    assert out == ""
    assert "12 trials: 100%" in err
    assert "ray" not in err.lower()


def test_no_worker_outlives_a_killed_driver_and_the_search_resumes(expected: list[str]) -> None:
    write_params(2)
    with search() as process:
        wait_for_first_batch(process)
        started = workers_of(process)
        assert started
        process.kill()
        process.communicate()
    gone, alive = psutil.wait_procs(started, timeout=60)
    assert (alive, len(gone)) == ([], len(started))
    assert len(without_seconds()) == 7
    with search() as process:
        _, err = end(process)
    assert "6 trials were done before" in err
    assert without_seconds() == expected


def test_an_interrupt_is_one_line_and_leaves_no_worker(expected: list[str]) -> None:
    write_params(2)
    with search() as process:
        wait_for_first_batch(process)
        started = workers_of(process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate()
    assert process.returncode == 130
    _, alive = psutil.wait_procs(started, timeout=60)
    assert (alive, out) == ([], "")
    assert err.splitlines()[-1].startswith("Interrupted; nothing was left half-written.")
    assert "Traceback" not in err
    assert "died" not in err


def test_a_killed_worker_is_replaced(expected: list[str]) -> None:
    write_params(2)
    with search() as process:
        wait_for_first_batch(process)
        next(one for one in workers_of(process) if title(one).startswith("ray::Host")).kill()
        _, err = end(process)
    assert "warning: A worker died (" in err
    assert without_seconds() == expected


def test_a_bug_in_a_worker_keeps_its_traceback(project: Path) -> None:
    write_params(2)
    shutil.copytree(ROOT / "unwrite", project / "unwrite")
    worker = project / "unwrite/search/worker.py"
    worker.write_text(worker.read_text().replace("return self._objective.evaluate(", "return self._objective.brew("))
    with search(PYTHONPATH=str(project)) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "in measure\n" in err
    assert "'Objective' object has no attribute 'brew'" in err


class Nodes:
    """Two Ray nodes on this machine, as processes of their own; mutable."""

    def __init__(self, folder: str) -> None:
        """Start the head node and another one, with one processor each."""
        self.port, self.client = free_port(), free_port()
        self.head = self._start(folder, "--head", f"--port={self.port}", f"--ray-client-server-port={self.client}")
        until(lambda: socket_answers(self.port))
        self.other = self._start(folder, f"--address=127.0.0.1:{self.port}")

    def _start(self, folder: str, *options: str) -> subprocess.Popen[bytes]:
        if "--head" in options:
            options = (*options, f"--temp-dir={folder}", "--include-dashboard=false", "--node-ip-address=127.0.0.1")
        command = [RAY, "start", *options, "--num-cpus=1", "--block", "--disable-usage-stats"]
        environment = ENVIRONMENT | {"RAY_worker_niceness": "0"}
        devnull = subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdout=devnull, stderr=devnull, start_new_session=True)

    def count(self) -> int:
        """Return how many nodes are alive, as the head knows them."""
        script = "import ray, sys; ray.init(address=sys.argv[1], logging_level='CRITICAL', log_to_driver=False); "
        script += "print(sum(node['Alive'] for node in ray.nodes()))"
        command = [sys.executable, "-c", script, f"127.0.0.1:{self.port}"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        return int(done.stdout or 0)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Kill a node with all its processes."""
        processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for process in processes:
            process.kill()
        node.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def socket_answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(is_so: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        started = Nodes(folder)
        until(lambda: started.count() == 2)
        yield started
        for node in (started.other, started.head):
            if node.poll() is None:
                started.kill(node)


def test_a_node_killed_in_mid_search_changes_no_trial(expected: list[str], nodes: Nodes) -> None:
    write_params("auto")
    with search(RAY_ADDRESS=f"127.0.0.1:{nodes.port}") as process:
        wait_for_first_batch(process)
        nodes.kill(nodes.other)
        out, err = end(process)
    assert without_seconds() == expected
    assert "warning: A worker died (" in err
    assert out == ""


def test_a_cluster_is_reached_through_its_client_port_and_refuses_gpus_it_lacks(
    expected: list[str], nodes: Nodes
) -> None:
    write_params(f"ray://127.0.0.1:{nodes.client}", device="cuda")
    with search() as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "error: Workers need a GPU each" in err
    assert "the cluster (2 nodes) has none" in err
    write_params(f"ray://127.0.0.1:{nodes.client}")
    with search() as process:
        end(process)
    assert without_seconds() == expected


def test_a_cluster_that_is_not_there_is_one_line(project: Path) -> None:
    write_params(f"ray://127.0.0.1:{free_port()}")
    with search() as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("error: No Ray cluster can be reached at ray://127.0.0.1:")
    assert "Traceback" not in err
