"""The environment of a run is recorded as far as it can change rounding, and nothing is invented."""

import subprocess
import sys

import torch

from unwrite.pipeline.environment import Environment, current_environment, package_versions

HERE = Environment(
    python="3.11.9",
    packages={"torch": "2.6.0"},
    system="Linux",
    processor="x86_64 Kettle",
    vector_instructions="AVX2",
    threads=4,
    accelerator=None,
)


def test_packages_interpreter_and_processor_are_recorded() -> None:
    environment = current_environment()
    assert set(environment.packages) >= {"unwrite", "torch", "safetensors"}
    assert environment.python.startswith("3.")
    assert environment.processor
    assert environment.accelerator is None


def test_vector_instructions_and_threads_are_read_from_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        environment = current_environment()
    finally:
        torch.set_num_threads(before)
    assert environment.vector_instructions == torch.backends.cpu.get_cpu_capability()
    assert environment.threads == 2


def test_neither_is_recorded_without_torch_and_torch_is_not_imported() -> None:
    script = """
import sys
from unwrite.pipeline.environment import current_environment
here = current_environment()
print(here.vector_instructions, here.threads, here.accelerator, "torch" in here.packages, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None", "None", "True", "False"]


def test_a_package_that_is_not_installed_is_left_out() -> None:
    assert set(package_versions(["torch", "a-package-that-does-not-exist"])) == {"torch"}


def test_hardware_names_the_gpu_or_the_processor_with_its_vector_instructions() -> None:
    assert HERE.hardware == "x86_64 Kettle (AVX2, threads: 4)"
    assert HERE.model_copy(update={"vector_instructions": None, "threads": None}).hardware == "x86_64 Kettle"
    assert HERE.model_copy(update={"accelerator": "A GPU"}).hardware == "A GPU"


def test_the_dtype_is_part_of_what_a_stage_ran_on() -> None:
    assert current_environment().dtype is None
    environment = current_environment("float32")
    assert environment.dtype == "float32"
    assert "float32" in environment.hardware
    assert environment.model_copy(update={"dtype": None}).hardware in environment.hardware.replace(", float32", "")
