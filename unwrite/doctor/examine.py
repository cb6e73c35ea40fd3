"""Examine this machine, and the project in a folder if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from unwrite.doctor.devices import examine_devices
from unwrite.doctor.diagnosis import Diagnosis
from unwrite.doctor.dvc_settings import committed_secrets, examine_dvc, stored_twice
from unwrite.doctor.installation import examine_installation
from unwrite.doctor.project_state import (
    examine_folders,
    examine_git,
    examine_params,
    examine_upgrade,
    runs_here,
)
from unwrite.doctor.room import examine_room, free_room, weights_of
from unwrite.errors import UnwriteError
from unwrite.schema.params import PARAMS_FILE, Params, load_params


def examine(folder: Path) -> list[Diagnosis]:
    """Return what this machine and the project offer and lack.

    Args:
        folder: the current folder; without params.yaml or pipeline, only the machine is examined.
    """
    findings = list(examine_installation())
    if not (folder / PARAMS_FILE).is_file() or not runs_here():
        findings += examine_devices()
        return [*findings, Diagnosis("note", "There is no project in this folder.", "`unwrite init DIR` makes one.")]
    findings += examine_params()
    try:
        params = load_params()
    except UnwriteError:
        findings += examine_devices()
    else:
        findings += examine_devices(params.runtime.device, params.model.dtype)
        findings += _room(folder, params)
    findings += examine_folders(folder)
    if find_spec("dvc") is not None:  # else it is among the missing packages
        findings += examine_dvc(folder)
    findings += committed_secrets(folder / ".dvc/config")
    findings += examine_git()
    findings += examine_upgrade()
    return findings


def _room(folder: Path, params: Params) -> Iterator[Diagnosis]:
    weights = weights_of(params.model.source)
    if weights is None:
        yield Diagnosis("ok", f"{params.model.source} is not pinned yet: `dvc repro pin_model` finds its size.")
        return
    try:
        memory, disk = free_room(params.runtime.device)
    except UnwriteError:
        return  # the device is missing, which is said already
    copies = 2 if find_spec("dvc") is not None and stored_twice(folder) else 1
    spreads = params.runtime.device == "auto" and params.model.quantization == "none"
    yield from examine_room(weights, memory=memory, disk=disk, copies=copies, spreads=spreads)
