"""Derive the examples' dvc.yaml from the project's: `python -m examples.derive_pipeline`.

The stages and their artifacts are the same. Only the project's own code lies two folders up: DVC runs a stage in the
folder of its dvc.yaml, and paths in it are relative to that folder. The first example holds the file; the others link
to it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("chatbot-disclaimer", "false-decline", "pirate", "stock-phrase")
EXAMPLES = tuple(ROOT / "examples" / name for name in NAMES)
_HEADER = """\
# The project's pipeline, to run in this folder. `python -m examples.derive_pipeline` writes it from ../../dvc.yaml:
# change that file and derive this one again (tests/examples/test_derive_pipeline.py checks this).
"""


def derived_pipeline(pipeline: str) -> str:
    """Return the text of an example's dvc.yaml.

    Args:
        pipeline: text of the project's dvc.yaml.
    """
    stages = re.sub(r"\A(#.*\n)+", "", pipeline)
    stages = re.sub(r"^( +- )unwrite/", r"\1../../unwrite/", stages, flags=re.MULTILINE)
    # env: some shells have no other way to set a variable for one command.
    stages = re.sub(r"^( +cmd: )python ", r"\1env PYTHONPATH=../.. python ", stages, flags=re.MULTILINE)
    return _HEADER + stages


def main() -> None:
    """Write the dvc.yaml of the first example, to which the others link."""
    text = derived_pipeline((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    (EXAMPLES[0] / "dvc.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
