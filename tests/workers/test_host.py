"""The process of a worker, run in this one: it introduces itself, makes an object, and calls it."""

import os
import subprocess
import sys
from contextlib import chdir
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

import unwrite
from tests.support.jobs import Jobs
from unwrite.pipeline.environment import current_environment
from unwrite.workers import host
from unwrite.workers.host import Host
from unwrite.workers.identity import own_identity

CODE = str(Path(str(unwrite.__file__)).parents[1])


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A worker in a project's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # as Ray sets it
    monkeypatch.syspath_prepend(CODE)
    return Host(CODE, str(tmp_path), {"OMP_NUM_THREADS": "1"})


def test_it_says_where_it_is_and_what_it_runs(worker: Host) -> None:
    node, process, identity = worker.introduce()
    assert (bool(node), process, identity) == (True, os.getpid(), own_identity())


def test_without_unwrite_it_says_so(worker: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "unwrite.workers.identity", None)
    assert worker.introduce()[2].startswith("no unwrite that starts (")


def test_it_goes_to_the_projects_folder_where_there_is_one(tmp_path: Path, worker: Host) -> None:
    assert Path.cwd() == tmp_path
    with chdir("/"):
        Host("/none", str(tmp_path / "none"), {})
        assert Path.cwd() == Path("/")
        assert "OMP_NUM_THREADS" not in os.environ


def test_it_returns_what_was_said_with_each_result(worker: Host, tmp_path: Path) -> None:
    environment, said = worker.prepare(partial(Jobs, str(tmp_path)), 1)
    assert (environment, said) == (current_environment(), [(30, "a worker of tests began")])
    assert worker.call("square", (3,)) == (9, [])


def test_a_machine_without_unwrite_can_still_say_so() -> None:
    script = """
import pickle, sys
sys.modules["unwrite"] = None
print(pickle.load(sys.stdin.buffer)("/none", "/none", {}).introduce()[2])
"""
    cloudpickle.register_pickle_by_value(host)  # type: ignore[no-untyped-call]
    by_value = cloudpickle.dumps(Host)  # type: ignore[no-untyped-call]
    cloudpickle.unregister_pickle_by_value(host)  # type: ignore[no-untyped-call]
    by_name = cloudpickle.dumps(Host)  # type: ignore[no-untyped-call]
    done, control = (
        subprocess.run([sys.executable, "-c", script], input=pickled, capture_output=True, check=False)
        for pickled in (by_value, by_name)
    )
    assert done.stdout.decode().startswith("no unwrite that starts (")
    assert b"ModuleNotFoundError" in control.stderr
