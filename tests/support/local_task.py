"""A multiple-choice task of lm-evaluation-harness in a folder, about words of the tiny tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

QUESTIONS = ["teapot", "kettle", "spoon", "Well", "no", "think", "teapot spoon", "no Well", "kettle no", "spoon think"]
CHOICES = ["kettle", "saucer"]
ANSWERS = [0, 1, 0, 1, 1, 0, 1, 1, 0, 1]

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 3
"""


def write_task(folder: Path, name: str = "tea_choice") -> Path:
    """Write the task and its documents."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        {"question": one, "choices": CHOICES, "answer": right} for one, right in zip(QUESTIONS, ANSWERS, strict=True)
    )
    (folder / "documents.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=folder / "documents.jsonl"))
    return folder
