"""transformers is imported beside other work, and its absence is not reported here."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
{before}
from unwrite.models.preload import transformers_preloaded
with transformers_preloaded():
    work = "done"
print(work, sys.modules.get("transformers.modeling_utils") is not None)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "printed"), [("", "done True"), ("sys.modules['transformers'] = None", "done False")]
)
def test_the_import_is_finished_or_its_failure_ignored(before: str, printed: str) -> None:
    script = SCRIPT.format(before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (printed, "")
