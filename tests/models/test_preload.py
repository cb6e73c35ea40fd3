"""transformers is imported beside other work or without collecting garbage; its absence is not reported here."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from unwrite.models.preload import everything_kept

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


class Knot:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_collected_again_afterwards_and_what_was_made_meanwhile_stays() -> None:
    try:
        with everything_kept():
            assert not gc.isenabled()
            kept = weakref.ref(Knot())
        assert gc.isenabled()
        collected = weakref.ref(Knot())
        gc.collect()
        assert kept() is not None
        assert collected() is None
    finally:
        gc.unfreeze()
