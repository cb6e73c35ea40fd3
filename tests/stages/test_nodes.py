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
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

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


@pytest.fixture(scope="module")
def undisturbed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The trials of an undisturbed search in one process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(finished, folder)
    with chdir(folder):
        write_params(1)
        subprocess.run(STAGE, env=ENVIRONMENT, capture_output=True, check=True)
        trials = without_seconds()
    assert len(trials) == 13
    return trials


@pytest.fixture
def expected(project: Path, undisturbed: list[str]) -> list[str]:
    """The trials to expect in a project where no search has begun."""
    shutil.rmtree(".unwrite/search")
    TRIALS.unlink()
    return undisturbed


@contextmanager
def search(enter: Sequence[str] = (), **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the stage in a process group of its own; `enter` is a command that enters a network."""
    with subprocess.Popen(
        [*enter, *STAGE],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
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


class Side(NamedTuple):
    """The network that a node is in: its address there, and the command that enters it."""

    address: str
    enter: list[str]


@contextmanager
def two_networks() -> Iterator[tuple[Side, Side]]:
    """Yield two network namespaces with a cable between them; where none can be made, this machine's network twice."""
    names = [f"unwrite-{os.getpid()}-{side}" for side in "ab"]
    ends = [f"unw{os.getpid()}{side}" for side in "ab"]  # a name of 15 characters at most
    addresses = ["10.203.7.1", "10.203.7.2"]
    commands = [
        *(["netns", "add", name] for name in names),
        ["link", "add", ends[0], "type", "veth", "peer", "name", ends[1]],
        *(["link", "set", end, "netns", name] for name, end in zip(names, ends, strict=True)),
        *(["-n", names[i], "addr", "add", f"{addresses[i]}/24", "dev", ends[i]] for i in range(2)),
        *(["-n", name, "link", "set", end, "up"] for i, name in enumerate(names) for end in (ends[i], "lo")),
    ]
    try:
        if shutil.which("ip") and all(ip(*command) for command in commands):
            first, second = (
                Side(address, ["ip", "netns", "exec", name]) for address, name in zip(addresses, names, strict=True)
            )
            yield first, second
        else:
            yield Side("127.0.0.1", []), Side("127.0.0.1", [])
    finally:
        if shutil.which("ip"):
            for name in names:  # the cable goes with them
                ip("netns", "delete", name)


def ip(*arguments: str) -> bool:
    """Return whether a command of iproute2 succeeded."""
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


class Nodes:
    """Two Ray nodes on this machine, as processes of their own, each in a network of its own if it can be; mutable."""

    def __init__(self, sides: tuple[Side, Side]) -> None:
        """Choose their addresses."""
        self.at_head, self.at_other = sides
        # Of this machine's network; in a namespace, nothing else takes one.
        self._ports = free_port(), free_port()
        self.gcs, self.client = (f"{self.at_head.address}:{port}" for port in self._ports)
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, folder: str) -> None:
        """Start the head node, then another one, with one processor each."""
        port, client = self._ports
        options = ["--head", f"--port={port}", f"--ray-client-server-port={client}", f"--temp-dir={folder}"]
        self._start(self.at_head, *options, "--include-dashboard=false")
        until(self._answers)
        self._start(self.at_other, f"--address={self.gcs}")
        until(lambda: self.count() == 2)

    def _start(self, side: Side, *options: str) -> None:
        command = [*side.enter, RAY, "start", *options, f"--node-ip-address={side.address}", "--num-cpus=1", "--block"]
        command.append("--disable-usage-stats")
        environment = ENVIRONMENT | {"RAY_worker_niceness": "0"}
        devnull = subprocess.DEVNULL
        node = subprocess.Popen(command, env=environment, stdout=devnull, stderr=devnull, start_new_session=True)
        self.running.append(node)

    def _answers(self) -> bool:
        """Return whether the head takes connections."""
        script = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"
        command = [*self.at_head.enter, sys.executable, "-c", script, *self.gcs.split(":")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def count(self) -> int:
        """Return how many nodes are alive, as the head knows them."""
        script = "import ray, sys; ray.init(address=sys.argv[1], logging_level='CRITICAL', log_to_driver=False); "
        script += "print(sum(node['Alive'] for node in ray.nodes()))"
        command = [*self.at_head.enter, sys.executable, "-c", script, self.gcs]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        return int(done.stdout or 0)

    def kill_last(self) -> None:
        """Kill the node that was started last with all its processes."""
        node = self.running.pop()
        processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(is_so: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with (
        tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        two_networks() as sides,
    ):
        started = Nodes(sides)
        try:
            started.start(folder)
            yield started
        finally:
            while started.running:
                started.kill_last()


def test_a_node_killed_in_mid_search_changes_no_trial(expected: list[str], nodes: Nodes) -> None:
    write_params("auto")
    with search(nodes.at_head.enter, RAY_ADDRESS=nodes.gcs) as process:
        wait_for_first_batch(process)
        nodes.kill_last()
        out, err = end(process)
    assert without_seconds() == expected
    assert "warning: A worker died (" in err
    assert out == ""


def test_a_cluster_is_reached_through_its_client_port_and_refuses_gpus_it_lacks(
    expected: list[str], nodes: Nodes
) -> None:
    write_params(f"ray://{nodes.client}", device="cuda")
    with search(nodes.at_other.enter) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "error: Workers need a GPU each" in err
    assert "the cluster (2 nodes) has none" in err
    write_params(f"ray://{nodes.client}")
    with search(nodes.at_other.enter) as process:
        end(process)
    assert without_seconds() == expected


def test_a_cluster_that_is_not_there_is_one_line(project: Path) -> None:
    write_params(f"ray://127.0.0.1:{free_port()}")
    with search() as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("error: No Ray cluster can be reached at ray://127.0.0.1:")
    assert "Traceback" not in err
