"""Paths of the pipeline's artifacts, relative to the project folder; dvc.yaml names the same ones."""

from pathlib import Path

MODEL_FILES = Path("artifacts/model_files.json")
BASE = Path("artifacts/base.json")
TOKENS = Path("artifacts/tokens")
RESIDUALS = Path("artifacts/residuals")
DIRECTIONS = Path("artifacts/directions.safetensors")
GEOMETRY = Path("artifacts/geometry.json")
CURVES = Path("artifacts/plots/geometry.csv")
TRIALS = Path("artifacts/trials.csv")
FRONT = Path("artifacts/front.json")
RECIPE = Path("artifacts/edit.json")
MODEL = Path("artifacts/model")
ADAPTER = Path("artifacts/adapter")
RESPONSES = Path("artifacts/responses")
EVALUATION = Path("artifacts/evaluation.json")
METRICS = Path("artifacts/metrics.json")
EDIT_SIZES = Path("artifacts/plots/edit_size.csv")
RATES = Path("artifacts/plots/rates.csv")
REPORT = Path("artifacts/report.html")
RUNS = Path("artifacts/runs")
CARD = Path("artifacts/card/README.md")

# In the folder of a release.
TEMPLATES = "additional_chat_templates"
"""The one folder of a model: its chat templates besides the default one. Models have no other."""
MANIFEST = "provenance.json"
