"""Start Ray on this machine, or connect to a cluster that exists; and leave nothing behind."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, Protocol

import psutil

from unwrite.errors import UnwriteError, reason_of
from unwrite.workers.capacity import Needs, Node, check_capacity, free_workers, needs_of_worker
from unwrite.workers.ray_folder import ray_folder

ADDRESS = "RAY_ADDRESS"
"""The variable that names the cluster of this machine, as Ray's own tools set and read it."""
_MOST_STARTS = 3
_GRACE_SECONDS = "10"  # after which a cluster ends the workers of a driver that was cut off from it


class Wanted(Protocol):
    """The workers that are wanted; section `runtime` of params.yaml says it for those that hold a model."""

    @property
    def workers(self) -> int | str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102
    @property
    def gpus_per_worker(self) -> int | Literal["auto"]: ...  # noqa: D102


class Cluster(NamedTuple):
    """A connection to Ray.

    needs: what one worker takes.
    size: how many workers to start.
    is_local: whether it was started for this run alone.
    """

    needs: Needs
    size: int
    is_local: bool


@contextmanager
def open_cluster(wanted: Wanted) -> Iterator[Cluster]:
    """Start Ray on this machine or connect to a cluster, and yield how many workers it holds; disconnect at the end.

    `auto` workers are on the cluster that RAY_ADDRESS names, and this machine alone where it names none.

    Args:
        wanted: more than one worker.

    Raises:
        UnwriteError: the cluster cannot be reached, or has fewer GPUs than the workers need.
        ModuleNotFoundError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send them to a server
    os.environ.setdefault("RAY_CLIENT_RECONNECT_GRACE_PERIOD", _GRACE_SECONDS)
    os.environ.setdefault("RAY_worker_niceness", "0")  # by default, workers yield to everything else
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without a GPU sees none
    import ray

    workers = wanted.workers
    address = os.environ.get(ADDRESS) if workers == "auto" else workers
    if not isinstance(address, str) or not address:
        with _local(wanted, workers if isinstance(workers, int) else None) as cluster:
            yield cluster
        return
    _connect(address)
    try:
        machines = nodes()
        needs = needs_of_worker(wanted.device, wanted.threads, wanted.gpus_per_worker, machines)
        fitting = check_capacity(machines, needs, None)
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        yield Cluster(needs, free_workers(fitting, needs, free), is_local=False)
    finally:
        ray.shutdown()


def nodes() -> list[Node]:
    """Return the nodes of the cluster that are alive, with all that they have."""
    import ray

    return [
        Node(node["NodeManagerHostname"], node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0))
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


@contextmanager
def _local(wanted: Wanted, workers: int | None) -> Iterator[Cluster]:
    import ray
    import torch

    machine = [Node(platform.node(), os.cpu_count() or 1, torch.cuda.device_count())]
    needs = needs_of_worker(wanted.device, wanted.threads, wanted.gpus_per_worker, machine)
    count = check_capacity(machine, needs, workers)
    with ray_folder() as folder:
        try:
            _start(
                address="local",
                num_cpus=count * needs.cpus,
                num_gpus=count * needs.gpus,
                include_dashboard=False,
                _temp_dir=folder,
            )
            yield Cluster(needs, count, is_local=True)
        finally:
            ray.shutdown()  # before its folder is deleted


def _start(**options: Any) -> None:
    """Start Ray, again if it took longer than the half minute that it allows itself: a second start takes less.

    Raises:
        UnwriteError: it took longer each time.
    """
    import ray

    for _ in range(_MOST_STARTS):
        before = psutil.Process().children(recursive=True)
        try:
            ray.init(**options, **_quiet())
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            for process in psutil.Process().children(recursive=True):
                if process not in before:  # what Ray has started, and would leave until this process ends
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            ray.shutdown()
        else:
            return
    raise UnwriteError(
        "Ray cannot be started: this machine is so busy that Ray gives up. Run this again when it is not, or use one "
        "worker."
    )


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, **_quiet())
    except ModuleNotFoundError:
        raise
    except Exception as error:  # Ray raises many kinds, RuntimeError and ConnectionError among them
        raise UnwriteError(
            f"No Ray cluster can be reached at {address} ({reason_of(error)}). Check the address (runtime.workers, "
            "--workers or RAY_ADDRESS) with `ray status` there, or name a number of workers on this machine."
        ) from error


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.CRITICAL}
