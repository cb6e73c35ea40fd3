"""Describe what a stage runs on, as far as it can change rounding, without revealing whose machine it is."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from unwrite.schema.artifacts import Artifact

PACKAGES = ("unwrite", "torch", "transformers", "tokenizers", "safetensors", "numpy", "optuna", "peft", "bitsandbytes")


class Environment(Artifact):
    """Interpreter, packages, system and processor of one run.

    `vector_instructions` is the widest set that torch's CPU kernels use (AVX2, AVX512 …) and `threads` how many threads
    they run on: both change the order of sums. They are None where the stage never imported torch. `accelerator` is the
    GPU that was used, if any. `dtype` is what the model computed in, if one did.
    """

    python: str
    packages: dict[str, str]
    system: str
    processor: str
    vector_instructions: str | None
    threads: int | None
    accelerator: str | None
    dtype: str | None = None

    @property
    def hardware(self) -> str:
        """The GPU if one was used, otherwise the processor with its vector instructions and threads; and the dtype."""
        dtype = "" if self.dtype is None else f", {self.dtype}"
        if self.accelerator is not None:
            return f"{self.accelerator}{dtype}"
        if self.vector_instructions is None or self.threads is None:
            return self.processor
        return f"{self.processor} ({self.vector_instructions}, threads: {self.threads}{dtype})"


def current_environment(dtype: str | None = None) -> Environment:
    """Return the environment of this process, in which a model computed in `dtype`, if one did."""
    torch = sys.modules.get("torch")  # a stage that never imported it computed nothing with it
    return Environment(
        python=platform.python_version(),
        packages=package_versions(PACKAGES),
        system=platform.system(),
        processor=f"{platform.machine()} {_processor()}".strip(),
        vector_instructions=None if torch is None else torch.backends.cpu.get_cpu_capability(),
        threads=None if torch is None else torch.get_num_threads(),
        accelerator=None if torch is None else _accelerator(torch),
        dtype=dtype,
    )


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed; a checkout can run without being installed itself."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    # platform.processor() is empty on most Linux systems, and only Linux has this file.
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor()
    model_name = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    return model_name[1].strip() if model_name else ""


def _accelerator(torch: ModuleType) -> str | None:
    return str(torch.cuda.get_device_name()) if torch.cuda.is_initialized() else None
