"""The harness scores a model as its logits say, quietly; what it cannot run is one line."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.local_task import ANSWERS, CHOICES, QUESTIONS, write_task
from tests.support.tiny import WORDS, tiny_config, tiny_model, tiny_tokenizer
from unwrite.errors import UnwriteError
from unwrite.evaluation.benchmark_scores import compare_results
from unwrite.evaluation.harness import documents_per_pass, find_tasks, run_harness

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.slow
TASK = "tea_choice"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_task(tmp_path / "tasks")


def model_with_bias(bias: float) -> PreTrainedModel:
    """A tiny model whose head has a bias, towards one of the choices."""
    model = tiny_model(tiny_config("phi", vocab_size=len(WORDS)))
    with torch.no_grad():
        model.get_parameter("lm_head.bias")[WORDS.index(CHOICES[1])] += bias
    return model


def correct(model: PreTrainedModel) -> list[bool]:
    """Whether the model prefers the right choice, by its own logits: each choice is one token."""
    tokenizer, choices = tiny_tokenizer(), [WORDS.index(choice) for choice in CHOICES]
    right = []
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        ids = torch.tensor([tokenizer(question)["input_ids"]])
        logits = model(ids).logits[0, -1, choices]
        right.append(int(logits.argmax()) == answer)
    return right


def test_a_planted_bias_is_found_with_its_paired_error(tasks: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manager = find_tasks([TASK], tasks)
    base, edited = model_with_bias(0), model_with_bias(50)
    results = [
        run_harness(model, tiny_tokenizer(), [TASK], manager, few_shot=None, limit=None, batch_size=4)
        for model in (base, edited)
    ]
    assert "Running loglikelihood" not in capfd.readouterr().err
    (score,) = compare_results(*results).scores
    before, after = correct(base), [answer == 1 for answer in ANSWERS]  # the edited model always says the second
    assert correct(edited) == after != before
    assert (score.task, score.version, score.figure, score.n) == (TASK, "3", "acc", len(ANSWERS))
    assert (score.base, score.edited) == (sum(before) / len(before), sum(after) / len(after))
    differences = [new - old for old, new in zip(before, after, strict=True)]
    mean = sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
    assert score.difference == pytest.approx(mean, abs=1e-12)
    assert score.difference_error == pytest.approx(math.sqrt(variance / len(differences)), abs=1e-12)
    assert score.difference_error != 0
    assert Path(".unwrite/datasets").is_dir()


def test_limit_and_chat_template_reach_the_harness(tasks: Path) -> None:
    results = run_harness(
        model_with_bias(0),
        tiny_tokenizer(),
        [TASK],
        find_tasks([TASK], tasks),
        few_shot=None,
        limit=3,
        batch_size=1,
        chat_template=True,
        system_prompt="saucer",
        template_arguments={"thinking": True},
    )
    samples = results["samples"][TASK]
    assert len(samples) == 3
    asked = samples[0]["arguments"][0][0]
    assert asked == f"<bos> <system> saucer <user> {samples[0]['doc']['question']} think <reply> "


@pytest.mark.parametrize(("begun", "reply"), [("", "<reply> Well"), ("no", "<assistant> Well no")])
def test_chat_messages_have_the_prefix_and_the_date(tasks: Path, begun: str, reply: str) -> None:
    path = tasks / f"{TASK}.yaml"
    path.write_text(path.read_text() + (f'gen_prefix: "{begun}"\n' if begun else ""))
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = f"{{{{ strftime_now('%Y-%m-%d') }}}} {tokenizer.chat_template}"
    results = run_harness(
        model_with_bias(0),
        tokenizer,
        [TASK],
        find_tasks([TASK], tasks),
        few_shot=None,
        limit=1,
        batch_size=1,
        chat_template=True,
        response_prefix="Well ",
        today=date(2025, 1, 31),
    )
    asked = results["samples"][TASK][0]["arguments"][0][0]
    assert asked.startswith("2025-01-31 ")
    assert asked.rstrip().endswith(reply)


def test_a_task_that_cannot_be_run_is_one_line(tasks: Path) -> None:
    (tasks / "documents.jsonl").unlink()
    manager = find_tasks([TASK], tasks)
    with pytest.raises(UnwriteError, match=rf"^evaluate\.benchmarks: {TASK} cannot be run \(") as caught:
        run_harness(model_with_bias(0), tiny_tokenizer(), [TASK], manager, few_shot=None, limit=1, batch_size=1)
    assert "\n" not in str(caught.value)


def test_data_out_of_reach_names_the_network(tasks: Path) -> None:
    (tasks / "far.yaml").write_text(
        "task: far\ndataset_path: someone/teapots\noutput_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: answer\ndoc_to_choice: choices\n'
    )
    manager = find_tasks(["far"], tasks)
    with pytest.raises(UnwriteError, match=r"far cannot be run .*Check the network: the data of most tasks comes from"):
        run_harness(model_with_bias(0), tiny_tokenizer(), ["far"], manager, few_shot=None, limit=1, batch_size=1)


def test_an_unknown_task_is_one_line_with_near_names(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.tasks

    asked, real = [], lm_eval.tasks.TaskManager

    def without_defaults(include_path: str | None, *, include_defaults: bool = True) -> object:
        asked.append(include_defaults)  # reading the harness's own takes many seconds
        return real(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", without_defaults)
    with pytest.raises(UnwriteError, match=r"has no task 'tea_choise'; did you mean tea_choice\?$") as caught:
        find_tasks([TASK, "tea_choise"], tasks)
    assert "\n" not in str(caught.value)
    assert asked == [False, True]  # a name that the folder lacks may be one of the harness's
    with pytest.raises(UnwriteError, match="`lm-eval ls tasks` lists all of them"):
        find_tasks(["xxxxxxxx"], tasks)
    asked.clear()
    find_tasks([TASK], tasks)
    assert asked == [False]


def test_a_task_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"^evaluate\.harness\.task_folder must be a folder with task definitions"):
        find_tasks([TASK], tmp_path / "none")


def test_documents_per_pass() -> None:
    assert documents_per_pass("auto", "cpu", padding_sensitive=False) == 8
    assert documents_per_pass("auto", "cuda", padding_sensitive=False) == "auto"
    assert documents_per_pass(300, "cpu", padding_sensitive=False) == 1
    assert documents_per_pass(8192, "cuda", padding_sensitive=False) == 4
    assert documents_per_pass(8192, "cuda", padding_sensitive=True) == 1


def test_importing_it_imports_no_harness() -> None:
    script = "import sys, unwrite.evaluation.harness; print('lm_eval' in sys.modules, 'datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
