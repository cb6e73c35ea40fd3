"""The pipeline of a new project: the demo's stages, which run the installed code in place of a clone's."""

from __future__ import annotations

import re
from pathlib import Path

DEMO = Path(__file__).parent / "demo"
"""The demo's pipeline, parameters, prompts and model."""
CODE = Path("artifacts/code")
"""The sums of the code of each stage: a file per stage, in projects with a pipeline of this kind."""
_CODE = re.compile(r"^      - (unwrite/.*)\n", re.MULTILINE)
_HEADER = """\
# The pipeline. Each stage reads files, calls the installed unwrite and writes files; a change reruns only what it can
# affect. The code is no file of this project: artifacts/code/ has a sum of the code that each stage runs, which an
# upgrade of unwrite changes where it must. list_code and list_inputs always run, to see what has changed outside DVC.
"""
_LIST_CODE = f"""\
  list_code:
    desc: Sum the installed code that each stage runs, so that stages see when an upgrade of unwrite changes it
    cmd: python -m unwrite.stages.list_code
    always_changed: true
    outs:
      - {CODE}:
          cache: false
          persist: true

"""


def demo_pipeline() -> str:
    """Return the text of the demo's dvc.yaml."""
    return (DEMO / "pipeline.yaml").read_text(encoding="utf-8")


def project_pipeline(pipeline: str) -> str:
    """Return the text of a project's dvc.yaml: each stage depends on the sum of its code, not on the files of it.

    Args:
        pipeline: text of the demo's dvc.yaml.
    """
    stages, rest = _parts(pipeline)
    summed = "".join(_with_one_sum(name, block) for name, block in stages.items())
    return f"{_HEADER}stages:\n{_LIST_CODE}{summed}{rest}"


def code_of_stages(pipeline: str) -> dict[str, list[str]]:
    """Return the files of the package that each stage imports, as the demo's dvc.yaml lists them.

    Args:
        pipeline: text of the demo's dvc.yaml.
    """
    stages, _ = _parts(pipeline)
    return {name: _CODE.findall(block) for name, block in stages.items()}


def _parts(pipeline: str) -> tuple[dict[str, str], str]:
    """Return the text of each stage, and that after the last one."""
    _, _, after = pipeline.partition("\nstages:\n")
    stages, *rest = re.split(r"^(?=\S)", after, maxsplit=1, flags=re.MULTILINE)
    blocks = re.split(r"^(?=  \w+:$)", stages, flags=re.MULTILINE)[1:]
    return {block.partition(":")[0].strip(): block for block in blocks}, "".join(rest)


def _with_one_sum(name: str, block: str) -> str:
    first, *others = _CODE.split(block)[::2]
    return f"{first}      - {CODE}/{name}.json\n{''.join(others)}"
