"""The Python API: what a researcher does in a notebook, in the same functions that the stages call.

`import unwrite` offers every name of `__all__`; the modules that define them are loaded on first use.
"""

from unwrite.core.direction_set import compute_directions
from unwrite.core.geometry import geometry
from unwrite.editing.recipe import make_recipe
from unwrite.editing.weights import edited
from unwrite.evaluation.behaviour import behaviour_rate, decode
from unwrite.evaluation.divergence import measure_kl, teacher_force
from unwrite.models.chat import tokenize_prompts
from unwrite.models.generation import generate_greedily
from unwrite.models.loading import load_model, load_tokenizer
from unwrite.models.patching import added_to_stream
from unwrite.models.residuals import extract_residuals
from unwrite.pipeline.pinning import pin_base
from unwrite.release.save import save_edited_checkpoint
from unwrite.release.verify import verify_release
from unwrite.schema.artifacts import EditSettings, Kernel, TrialParameters

__all__ = [
    "EditSettings",
    "Kernel",
    "TrialParameters",
    "added_to_stream",
    "behaviour_rate",
    "compute_directions",
    "decode",
    "edited",
    "extract_residuals",
    "generate_greedily",
    "geometry",
    "load_model",
    "load_tokenizer",
    "make_recipe",
    "measure_kl",
    "pin_base",
    "save_edited_checkpoint",
    "teacher_force",
    "tokenize_prompts",
    "verify_release",
]
