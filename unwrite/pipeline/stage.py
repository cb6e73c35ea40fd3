"""Run a stage: check all parameters, take the lock, record the run, show expected errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from unwrite.errors import UnwriteError, is_out_of_memory, missing_package, reason_of, refused_file
from unwrite.models.allocator import keep_freed_memory
from unwrite.pipeline.environment import Environment
from unwrite.pipeline.lock import exclusive_run
from unwrite.pipeline.logs import log_to_stderr
from unwrite.pipeline.runs import recorded
from unwrite.pipeline.start import INTERRUPTED, MESSAGE
from unwrite.schema.params import Params, load_params

_ARTIFACTS = Path("artifacts")


def run_stage(work: Callable[[Params], str | Environment | None]) -> None:
    """Run a stage's `work` with the validated parameters, under the stage's lock.

    `work` returns the dtype that its model computed in, what its workers computed on, or None if it ran no model.

    DVC does not stop its child process when it is killed; the lock keeps the next run from writing at the same time. An
    expected error ends the process with one or two lines on stderr and exit code 1.
    """
    name = Path(sys.argv[0]).stem
    try:
        params = load_params()
        with log_to_stderr(), exclusive_run(name):
            _refuse_links()
            keep_freed_memory()
            use_threads(params.runtime.threads)
            with recorded(name, params) as computed_in:
                computed_in(work(params))
    except UnwriteError as error:
        fail(error)
    except ModuleNotFoundError as error:
        missing = missing_package(name, error)
        if not isinstance(missing, UnwriteError):
            raise
        fail(missing)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        remedy = "Set runtime.batch_tokens in params.yaml to a smaller number."
        fail(UnwriteError(f"Out of memory ({reason_of(error)}). {remedy}"))
    except OSError as error:
        refused = refused_file(error)
        if not isinstance(refused, UnwriteError):
            raise
        fail(refused)
    except KeyboardInterrupt:
        sys.stderr.write(f"{MESSAGE}\n")
        raise SystemExit(INTERRUPTED) from None


def fail(error: UnwriteError) -> NoReturn:
    """End the process with an expected error."""
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(1)


def _refuse_links() -> None:
    """Refuse artifacts that are links to folders, which DVC does not track, before any work."""
    links = [path for path in (_ARTIFACTS, *_ARTIFACTS.glob("*")) if path.is_symlink() and path.is_dir()]
    if links:
        raise UnwriteError(
            f"{links[0]} is a link to a folder, which DVC cannot track: put a folder in its place. To keep artifacts "
            "on another disk, move the cache there (`dvc cache dir PATH`, `dvc config cache.type symlink`)."
        )


def use_threads(threads: int) -> None:
    """Compute with this many threads from now on; 0: as many as torch chooses, which is every core."""
    # Importing torch takes seconds, and stages that compute nothing do not import it.
    torch = sys.modules.get("torch")
    if threads and torch is not None:
        torch.set_num_threads(threads)
