"""What every worker that runs the pinned model is given; and the dtype that all of them compute in."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.schema.artifacts import Base
from unwrite.schema.params import Runtime
from unwrite.workers.model_on_node import ModelOnNode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unwrite.workers.pool import Pool


class ModelSetup(NamedTuple):
    """A model to be loaded in workers.

    base: record of the model.
    project: the project's folder.
    runtime: section `runtime` of params.yaml.
    dtype: the dtype that every worker computes in.
    """

    base: Base
    project: Path
    runtime: Runtime
    dtype: str

    def load(self) -> PreTrainedModel:
        """Load the model in a worker, its files checked.

        Raises:
            UnwriteError: as in `ModelOnNode`, or the model cannot be loaded.
        """
        return ModelOnNode(self.base, self.project).load(self.dtype, self.runtime)


def set_up_model(pool: Pool, base: Base, runtime: Runtime) -> ModelSetup:
    """Let every worker check that its node has the model, before any work, and return what they load it with.

    Raises:
        UnwriteError: as in `ModelOnNode`.
    """
    project = Path.cwd()
    pool.prepare(partial(ModelOnNode, base, project))
    pool.wait_until_ready()
    return ModelSetup(base, project, runtime, pool.ask("dtype", runtime))
