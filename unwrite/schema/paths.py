"""Paths of the pipeline's artifacts, relative to the project folder; dvc.yaml names the same ones."""

from pathlib import Path

from unwrite.terms import SetName, SplitName

MODEL_FILES = Path("artifacts/model_files.json")
TASK_FILES = Path("artifacts/task_files.json")
JUDGE_FILES = Path("artifacts/judge_files.json")
PROMPT_FILES = Path("artifacts/prompt_files.json")
SET_FILES = Path("artifacts/set_files.json")
MARKER_FILES = Path("artifacts/marker_files.json")
LISTINGS = (MODEL_FILES, TASK_FILES, JUDGE_FILES, PROMPT_FILES, SET_FILES, MARKER_FILES)
BASE = Path("artifacts/base.json")
TOKENS = Path("artifacts/tokens")
SET_TOKENS = Path("artifacts/set_tokens")
SOURCES = "sources.json"
"""In a folder of tokens: where its prompt sets came from."""
TEMPLATE = "template.jinja"
"""In the folder of the tokens: the chat template that rendered all prompts."""
RESIDUALS = Path("artifacts/residuals")
KEPT_PROMPTS = Path("artifacts/kept_prompts.json")
DIRECTIONS = Path("artifacts/directions.safetensors")
GEOMETRY = Path("artifacts/geometry.json")
CURVES = Path("artifacts/plots/geometry.csv")
RESIDUAL_MAP = Path("artifacts/residual_map.csv")
TRIALS = Path("artifacts/trials.csv")
FRONT = Path("artifacts/front.json")
RECIPE = Path("artifacts/edit.json")
MODEL = Path("artifacts/model")
ADAPTER = Path("artifacts/adapter")
RESPONSES = Path("artifacts/responses")
VERDICTS = Path("artifacts/verdicts")
CAUSALITY = Path("artifacts/causality.json")
CAUSAL_RESPONSES = Path("artifacts/causal_responses.jsonl")
CLASSIFIER = VERDICTS / "classifier.json"
DISAGREEMENTS = VERDICTS / "disagreements.jsonl"
EVALUATION = Path("artifacts/evaluation.json")
METRICS = Path("artifacts/metrics.json")
EDIT_SIZES = Path("artifacts/plots/edit_size.csv")
BENCHMARKS = Path("artifacts/benchmarks.json")
RATES = Path("artifacts/plots/rates.csv")
REPORT = Path("artifacts/report.html")
RUNS = Path("artifacts/runs")
CARD = Path("artifacts/card/README.md")

# In the folder of a release.
TEMPLATES = "additional_chat_templates"
"""The one folder of a model: its chat templates besides the default one. Models have no other."""
PROMPT_TEMPLATE = "prompt_template.jinja"
"""The chat template that prompts were rendered with, if it is not the model's own."""
MANIFEST = "provenance.json"


def residuals_file(set_name: SetName, split: SplitName) -> Path:
    """Return the file with the residuals of one split of a prompt set."""
    return RESIDUALS / f"{set_name}.{split}.safetensors"
