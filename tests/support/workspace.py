"""A small copy of the project in which the real pipeline runs in under a minute: few prompts, few trials."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner
from ruamel.yaml import YAML

from unwrite.cli import main

ROOT = Path(__file__).parents[2]
_PROJECT = ("unwrite", "prompts", "demo/model", "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore")
ORDER = [
    "pin_model",
    "tokenize_prompts",
    "extract_residuals",
    "filter_prompts",
    "compute_directions",
    "optimize_weights",
    "select_trial",
    "merge_model",
    "export_adapter",
    "measure_geometry",
    "check_causality",
    "run_benchmarks",
    "tokenize_sets",
    "generate_responses",
    "judge_responses",
    "score_responses",
    "write_report",
    "check_gates",
]
SMALL = {
    ("tokenize", "splits"): {"train": 12, "validation": 8, "test": 8},
    ("optimize", "trials"): 3,
    ("optimize", "random_trials"): 2,
    ("optimize", "batch"): 2,
    ("optimize", "max_tokens"): 12,
    ("optimize", "kl_tokens"): 2,
    ("adapter", "rank"): None,  # importing PEFT takes longer than all other stages
    ("evaluate", "gates"): ["kl_response.high <= 100"],  # what a small search reaches may keep no other
    ("generate", "max_tokens"): 16,
    ("generate", "kl_tokens"): 4,
    (
        "runtime",
        "backend",
    ): "weights",  # fixed: the fastest depends on the machine, and rounds differently
}
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "DVC_NO_ANALYTICS": "1",
}


def make_workspace(folder: Path) -> Path:
    """Copy the project into `folder`, make it a git and DVC repository, and shrink its parameters."""
    for name in _PROJECT:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for (section, key), value in SMALL.items():
        set_parameter(folder, section, key, value=value)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    commit(folder)
    return folder


def copy_workspace(source: Path, target: Path) -> Path:
    """Copy a workspace into `target`, which must not exist; files that are one file (hard links) stay one."""
    copies: dict[int, str] = {}  # inode: its copy

    def copy_once(file: str, copy: str) -> str:
        inode = Path(file).stat().st_ino
        if inode in copies:
            Path(copy).hardlink_to(copies[inode])
        else:
            copies[inode] = shutil.copy2(file, copy)
        return copy

    shutil.copytree(source, target, copy_function=copy_once)
    return target


def commit(folder: Path) -> None:
    """Commit everything."""
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "state")


def set_parameter(folder: Path, *path: str, value: object) -> None:
    """Set one value in the workspace's params.yaml."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    section = params
    for key in path[:-1]:
        section = section[key]
    assert path[-1] in section
    section[path[-1]] = value
    yaml.dump(params, folder / "params.yaml")


def run(folder: Path, *command: str, expect: int = 0, environment: Mapping[str, str] = ENVIRONMENT) -> str:
    """Run a command in the workspace and return what it printed, stdout and stderr together."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


def unwrite(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Run the command line in a folder, in this process (its imports are done), and return what it printed."""
    with chdir(folder):
        done = CliRunner().invoke(main, arguments)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    assert done.exit_code == expect, done.output
    return done.output


def stages_that_ran(output: str) -> set[str]:
    """Return the stages that DVC reported as run, without the one that always runs."""
    return set(re.findall(r"^Running stage '(\w+)':", output, flags=re.MULTILINE)) - {"list_inputs"}


def is_up_to_date(folder: Path) -> bool:
    """Return whether DVC finds every stage up to date, other than the one that always runs."""
    return run(folder, "dvc", "status") == "list_inputs:\n\talways changed\n"
