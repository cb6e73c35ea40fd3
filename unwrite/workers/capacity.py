"""How many workers there are to be, and what each of them takes: by params.yaml, and what the nodes have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from unwrite.errors import UnwriteError


class Node(NamedTuple):
    """A machine of a cluster, and how many of its processors and GPUs workers may take."""

    name: str
    cpus: float
    gpus: float


class Needs(NamedTuple):
    """What one worker takes."""

    cpus: int
    gpus: int


def needs_of_worker(device: str, threads: int, gpus_per_worker: int | Literal["auto"], nodes: Sequence[Node]) -> Needs:
    """Return what one worker takes.

    With `auto`, it takes one GPU if its model is to run on one. A model on a CPU takes as many processors as it has
    threads, or all of a node.

    Args:
        device: `runtime.device`.
        threads: `runtime.threads`.
        gpus_per_worker: `runtime.gpus_per_worker`.
        nodes: the machines, at least one.

    Raises:
        UnwriteError: the device is one GPU by number, which several workers cannot share.
    """
    if device.startswith("cuda:"):
        raise UnwriteError(
            f"runtime.device must be auto, cpu or cuda with several workers, got {device}: each is given its own GPU. "
            "Set it to cuda, or runtime.workers to 1."
        )
    if gpus_per_worker != "auto":
        gpus = gpus_per_worker
    elif device == "auto":
        gpus = int(any(node.gpus for node in nodes))
    else:
        gpus = int(device == "cuda")
    return Needs(1 if gpus else threads or max(1, int(min(node.cpus for node in nodes))), gpus)


def check_capacity(nodes: Sequence[Node], needs: Needs, wanted: int | None) -> int:
    """Return how many workers to start: `wanted`, or as many as fit.

    Args:
        nodes: the machines, at least one.
        needs: what one worker takes.
        wanted: the number of workers that params.yaml names, which may share processors but no GPU; None for all that
            fit.

    Raises:
        UnwriteError: there are fewer GPUs than that takes, or no worker fits.
    """
    largest = int(max(node.gpus for node in nodes))
    if needs.gpus and not largest:
        raise UnwriteError(
            f"{_workers(wanted)} a GPU each (runtime.device, runtime.gpus_per_worker), and {_where(nodes)} has none. "
            "Set runtime.device to cpu, or add a machine with GPUs."
        )
    if needs.gpus > largest:
        raise UnwriteError(
            f"A worker needs {needs.gpus} GPUs (runtime.gpus_per_worker), and {_where(nodes)} has at most {largest} on "
            "one machine. Lower runtime.gpus_per_worker."
        )
    fitting = workers_that_fit(nodes, needs)
    if wanted is None:
        if not fitting:
            raise UnwriteError(
                f"A worker needs {needs.cpus} processors on one machine (runtime.threads), and {_where(nodes)} has at "
                f"most {int(max(node.cpus for node in nodes))}. Lower runtime.threads."
            )
        return fitting
    if needs.gpus and wanted > fitting:
        each = "a GPU" if needs.gpus == 1 else f"{needs.gpus} GPUs"
        raise UnwriteError(
            f"{_workers(wanted)} {each} each, and {_where(nodes)} has {int(sum(node.gpus for node in nodes))}. "
            f"Set runtime.workers to {fitting} or auto."
        )
    return wanted


def workers_that_fit(nodes: Sequence[Node], needs: Needs) -> int:
    """Return how many workers fit on some machines; a worker takes what it needs from one of them."""
    return sum(
        int(min(node.cpus // needs.cpus, node.gpus // needs.gpus if needs.gpus else node.cpus // needs.cpus))
        for node in nodes
    )


def free_workers(fitting: int, needs: Needs, free: Mapping[str, float]) -> int:
    """Return how many of the workers that fit find room next to other work.

    Args:
        fitting: result of `check_capacity`.
        needs: what one worker takes.
        free: what is free in the whole cluster, by Ray's names.

    Raises:
        UnwriteError: not one does.
    """
    rooms = [free.get("CPU", 0) // needs.cpus, *([free.get("GPU", 0) // needs.gpus] if needs.gpus else [])]
    count = int(min(fitting, *rooms))
    if not count:
        gpus = f" and {needs.gpus} GPUs" if needs.gpus else ""
        raise UnwriteError(
            f"Other work fills the cluster: a worker needs {needs.cpus} processors{gpus}, and {free.get('CPU', 0):g} "
            f"processors and {free.get('GPU', 0):g} GPUs are free. Wait until it has ended (`ray status`)."
        )
    return count


def _workers(wanted: int | None) -> str:
    return "Workers need" if wanted is None else f"{wanted} workers (runtime.workers) need"


def _where(nodes: Sequence[Node]) -> str:
    return f"this machine ({nodes[0].name})" if len(nodes) == 1 else f"the cluster ({len(nodes)} nodes)"
