"""How many workers there are: as many as named, or as fit; and what is said where there are too few GPUs."""

import pytest

from unwrite.errors import UnwriteError
from unwrite.workers.capacity import Needs, Node, check_capacity, free_workers, needs_of_worker, workers_that_fit

LAPTOP = [Node("laptop", 4, 0)]
SERVER = [Node("server", 64, 8)]
CLUSTER = [Node("head", 8, 0), Node("one", 32, 4), Node("two", 32, 4)]


@pytest.mark.parametrize(
    ("device", "threads", "gpus_per_worker", "nodes", "expected"),
    [
        ("auto", 1, "auto", LAPTOP, Needs(1, 0)),
        ("auto", 0, "auto", LAPTOP, Needs(4, 0)),  # every core
        ("auto", 0, "auto", SERVER, Needs(1, 1)),
        ("cpu", 2, "auto", SERVER, Needs(2, 0)),
        ("cuda", 2, "auto", LAPTOP, Needs(1, 1)),
        ("cuda", 2, 4, SERVER, Needs(1, 4)),
        ("mps", 3, "auto", LAPTOP, Needs(3, 0)),
    ],
)
def test_a_worker_takes_a_gpu_where_its_model_runs_on_one(
    device: str, threads: int, gpus_per_worker: int, nodes: list[Node], expected: Needs
) -> None:
    assert needs_of_worker(device, threads, gpus_per_worker, nodes) == expected


def test_a_gpu_by_number_cannot_be_shared() -> None:
    with pytest.raises(UnwriteError, match="must be auto, cpu or cuda with several workers, got cuda:1"):
        needs_of_worker("cuda:1", 1, "auto", SERVER)


@pytest.mark.parametrize(
    ("nodes", "needs", "fitting"),
    [
        (LAPTOP, Needs(1, 0), 4),
        (LAPTOP, Needs(3, 0), 1),
        (SERVER, Needs(1, 1), 8),
        (SERVER, Needs(1, 3), 2),
        (CLUSTER, Needs(1, 2), 4),
        (CLUSTER, Needs(1, 3), 2),  # not across nodes
        (CLUSTER, Needs(16, 1), 4),
        (LAPTOP, Needs(1, 1), 0),
    ],
)
def test_a_worker_fits_on_one_node(nodes: list[Node], needs: Needs, fitting: int) -> None:
    assert workers_that_fit(nodes, needs) == fitting
    if fitting:
        assert check_capacity(nodes, needs, None) == fitting


def test_named_workers_may_share_processors_but_no_gpu() -> None:
    assert check_capacity(LAPTOP, Needs(1, 0), 9) == 9
    assert check_capacity(SERVER, Needs(1, 1), 8) == 8
    with pytest.raises(UnwriteError, match=r"^9 workers \(runtime.workers\) need a GPU each, and this machine"):
        check_capacity(SERVER, Needs(1, 1), 9)
    with pytest.raises(UnwriteError, match=r"need 3 GPUs each, .* \(server\) has 8\. Set .* to 2 or auto"):
        check_capacity(SERVER, Needs(1, 3), 4)


def test_where_no_node_has_a_gpu_that_is_said() -> None:
    with pytest.raises(UnwriteError, match=r"^2 workers .* need a GPU each .*this machine \(laptop\) has none"):
        check_capacity(LAPTOP, Needs(1, 1), 2)
    with pytest.raises(UnwriteError, match=r"^Workers need a GPU each .*the cluster \(2 nodes\) has none"):
        check_capacity([*LAPTOP, *LAPTOP], Needs(1, 1), None)


def test_a_worker_that_needs_more_gpus_than_any_node_has_is_refused() -> None:
    with pytest.raises(UnwriteError, match=r"needs 5 GPUs .*the cluster \(3 nodes\) has at most 4 on one machine"):
        check_capacity(CLUSTER, Needs(1, 5), None)


def test_a_worker_that_needs_more_processors_than_any_node_has_is_refused() -> None:
    with pytest.raises(UnwriteError, match=r"needs 6 processors .*\(laptop\) has at most 4\. Lower runtime\.threads"):
        check_capacity(LAPTOP, Needs(6, 0), None)


def test_other_work_in_the_cluster_leaves_room_for_fewer() -> None:
    assert free_workers(8, Needs(1, 1), {"CPU": 64, "GPU": 3}) == 3
    assert free_workers(8, Needs(4, 0), {"CPU": 22}) == 5
    assert free_workers(8, Needs(1, 1), {"CPU": 64, "GPU": 64}) == 8
    with pytest.raises(UnwriteError, match=r"needs 1 processors and 1 GPUs, and 64 processors and 0 GPUs are free"):
        free_workers(8, Needs(1, 1), {"CPU": 64})
