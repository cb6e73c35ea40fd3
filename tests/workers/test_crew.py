"""A crew without any process: what is said of a worker that differs or fails."""

from typing import Any

import pytest
from ray.exceptions import RayTaskError

from unwrite.errors import UnwriteError
from unwrite.workers.capacity import Needs
from unwrite.workers.cluster import Cluster
from unwrite.workers.crew import Crew, Worker
from unwrite.workers.identity import own_identity

WORKER = Worker(None, "node-7 (process 12)")


@pytest.fixture
def crew() -> Crew:
    return Crew(Cluster(Needs(1, 0), 0, is_local=False), threads=1)


def test_a_worker_with_another_version_is_refused_by_name(crew: Crew) -> None:
    other = own_identity()._replace(torch="1.13.1")
    with pytest.raises(UnwriteError, match=r"^The worker on node-7 has torch 1\.13\.1, and this process has [^1]"):
        crew._introduced(Worker(None), "node-7", 12, other)
    with pytest.raises(UnwriteError, match=r"^The worker on node-7 has no unwrite that starts \(why\)\. Install"):
        crew._introduced(Worker(None), "node-7", 12, "no unwrite that starts (why)")
    worker = Worker(None)
    crew._introduced(worker, "node-7", 12, own_identity())
    assert worker.name == "node-7 (process 12)"


def test_nobody_waits_for_nothing(crew: Crew) -> None:
    with pytest.raises(ValueError, match="no worker was asked"):
        crew.next_event()


def test_without_a_node_that_holds_a_worker_nobody_waits(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unwrite.workers.crew.nodes", list)
    with pytest.raises(UnwriteError, match="No worker is left, and no node of the cluster has room for one"):
        crew._refuse_to_wait_in_vain()
    crew.workers.append(WORKER)
    crew._refuse_to_wait_in_vain()  # one that runs may come back with its result


def test_a_file_that_the_system_refuses_a_worker_is_told_in_one_line(crew: Crew) -> None:
    raised: Any = RayTaskError("call", "Traceback", PermissionError(13, "Permission denied", "pot/leaves.json"))  # type: ignore[no-untyped-call]
    error = crew._own_error(raised, WORKER, "ended")
    assert isinstance(error, UnwriteError)
    refusal = "pot/leaves.json: Permission denied. Fix the permissions, then try again."
    assert str(error) == f"On node-7 (process 12): {refusal}"
    on_this_machine = Crew(Cluster(Needs(1, 0), 0, is_local=True), threads=1)
    assert str(on_this_machine._own_error(raised, WORKER, "ended")) == refusal
    bug: Any = RayTaskError("call", "Traceback", FileNotFoundError(2, "No such file", "pot/leaves.json"))  # type: ignore[no-untyped-call]
    assert crew._own_error(bug, WORKER, "ended") is bug  # with its traceback
