"""Stages check parameters first, run one at a time, show expected errors in one line, and keep tracebacks of bugs.

The stages here are scripts in real processes, because locks and exit codes belong to the operating system.
"""

import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.start import INTERRUPTED, MESSAGE
from unwrite.schema.params import Params

REPOSITORY = Path(__file__).resolve().parents[2]
STAGE = """
import logging, os, signal, sys
from pathlib import Path
from unwrite.errors import UnwriteError
from unwrite.schema.params import Params
from unwrite.pipeline.stage import run_stage
from unwrite.pipeline.start import INTERRUPTED, MESSAGE

logger = logging.getLogger("unwrite.stage")

def work(params: Params) -> None:
    {work}

if __name__ == "__main__":
    run_stage(work)
"""
# Reports that it is running, then waits for a signal to end: no clock, no race.
WAITS = 'print("at work", flush=True); sys.stdin.readline()'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    return tmp_path


def stage(project: Path, work: str, name: str = "some_stage") -> list[str]:
    (project / f"{name}.py").write_text(STAGE.format(work=work))
    return [sys.executable, f"{name}.py"]


def run(project: Path, work: str, name: str = "some_stage") -> subprocess.CompletedProcess[str]:
    command = stage(project, work, name)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def change(project: Path, key: str, line: str) -> None:
    path = project / "params.yaml"
    text, count = re.subn(rf"^  {key}: .*$", f"  {line}", path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def running_stage(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A stage that is running."""
    with subprocess.Popen(
        stage(project, WAITS), cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_work_gets_the_parameters_and_its_messages_go_to_stderr(project: Path) -> None:
    change(project, "trials", "trials: 123")
    done = run(project, 'logger.info("%d trials", params.optimize.trials)')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "123 trials\n")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_stage_keeps_the_memory_that_it_frees(project: Path) -> None:
    held = "__import__('psutil').Process().memory_info().rss"
    done = run(project, f"before = {held}; block = bytearray(b'x') * 10**8; del block; print({held} - before)")
    assert int(done.stdout) > 0.9e8


def test_an_expected_error_is_one_line_and_exit_code_1(project: Path) -> None:
    done = run(project, 'raise UnwriteError("Too few prompts: add 3.")')
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: Too few prompts: add 3.\n")


def test_an_expected_error_with_a_cause_is_still_one_line(project: Path) -> None:
    done = run(project, 'raise UnwriteError("Disk full.") from OSError("inner")')
    assert (done.returncode, done.stderr) == (1, "error: Disk full.\n")


def test_a_bug_keeps_its_traceback(project: Path) -> None:
    done = run(project, "1 / 0")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert 'some_stage.py", line ' in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_missing_package_is_one_line_with_its_extra(project: Path) -> None:
    done = run(project, 'sys.modules["optuna"] = None; import optuna')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: some_stage needs Optuna: pip install 'unwrite[pipeline]'.\n"


def test_missing_module_of_the_project_is_a_bug(project: Path) -> None:
    done = run(project, "import unwrite.typo")
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'unwrite.typo'\n")


def test_an_interrupt_is_one_line(project: Path) -> None:
    # A shell that starts this in the background makes it ignore Ctrl-C.
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    done = run(project, f"{listen}; os.kill(os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (INTERRUPTED, f"{MESSAGE}\n")


def test_parameters_are_checked_before_the_work_starts(project: Path) -> None:
    change(project, "trials", "trails: 100")
    done = run(project, 'Path("started").touch()')
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: unknown key optimize.trails; did you mean optimize.trials?\n"
    assert not (project / "started").exists()


def test_the_whole_file_is_checked_not_only_the_section_of_the_stage(project: Path) -> None:
    change(project, "confidence", "confidence: 95")
    done = run(project, 'Path("started").touch()', name="pin_model")
    assert (done.returncode, done.stderr) == (
        1,
        "error: params.yaml: score.confidence must be below 1.0, got 95.\n",
    )


def test_stage_outside_the_project_reports_where_to_run_it(project: Path) -> None:
    (project / "params.yaml").unlink()
    done = run(project, "pass")
    assert (done.returncode, done.stderr) == (
        1,
        "error: params.yaml is missing: run this in the project folder.\n",
    )


def test_second_run_is_refused_while_the_first_is_running(project: Path, running_stage: subprocess.Popen[str]) -> None:
    second = run(project, 'Path("started").touch()')
    assert second.returncode == 1
    assert second.stderr == (
        f"error: some_stage is already running in this folder (process {running_stage.pid}): "
        "wait for it to end, or stop it.\n"
    )
    assert not (project / "started").exists()


def test_another_stage_runs_meanwhile(project: Path, running_stage: subprocess.Popen[str]) -> None:
    assert run(project, "pass", name="other_stage").returncode == 0


def test_the_lock_is_free_after_a_kill(project: Path, running_stage: subprocess.Popen[str]) -> None:
    running_stage.kill()
    assert running_stage.wait() == -signal.SIGKILL
    done = run(project, 'logger.info("went on")')
    assert (done.returncode, done.stderr) == (0, "went on\n")


def test_the_lock_is_free_after_the_end(project: Path, running_stage: subprocess.Popen[str]) -> None:
    running_stage.communicate("end\n")
    assert running_stage.returncode == 0
    assert run(project, "pass").returncode == 0


@pytest.mark.parametrize("end", ['raise UnwriteError("x")', "1 / 0"])
def test_the_lock_is_free_after_an_error(project: Path, end: str) -> None:
    assert run(project, end).returncode == 1
    assert run(project, "pass").returncode == 0


def test_a_lock_inside_the_work_is_not_mistaken_for_a_second_run(project: Path) -> None:
    done = run(project, 'import filelock; raise filelock.Timeout("of the work")')
    assert "already running" not in done.stderr
    assert done.stderr.endswith("The file lock 'of the work' could not be acquired.\n")


def test_a_stage_without_torch_does_not_import_it(project: Path) -> None:
    assert run(project, 'assert "torch" not in sys.modules').stderr == ""


def test_a_process_can_run_a_stage_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    seen: list[Params] = []
    run_stage(seen.append)
    run_stage(seen.append)
    assert len(seen) == 2


@pytest.mark.parametrize(("threads", "expected"), [(3, [3]), (0, [])])
def test_threads_are_set_where_torch_is_used(
    project: Path, monkeypatch: pytest.MonkeyPatch, threads: int, expected: list[int]
) -> None:
    change(project, "threads", f"threads: {threads}")
    monkeypatch.chdir(project)
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    run_stage(lambda _: None)
    assert used == expected


@pytest.mark.parametrize("raised", ["MemoryError()", 'RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")'])
def test_out_of_memory_error_names_the_setting_to_lower(project: Path, raised: str) -> None:
    done = run(project, f"raise {raised}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Out of memory (")
    assert "Set runtime.batch_tokens in params.yaml to a smaller number" in done.stderr
    assert done.stderr.count("\n") == 1


def test_linked_artifacts_are_refused_before_any_work(project: Path) -> None:
    (project / "elsewhere").mkdir()
    (project / "artifacts").mkdir(exist_ok=True)
    assert run(project, 'Path("started").touch()').returncode == 0
    (project / "started").unlink()
    (project / "artifacts/tokens").symlink_to(project / "elsewhere")
    done = run(project, 'Path("started").touch()')
    assert (done.returncode, (project / "started").exists()) == (1, False)
    assert done.stderr.startswith("error: artifacts/tokens is a link to a folder, which DVC cannot track")
