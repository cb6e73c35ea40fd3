"""Run lm-evaluation-harness on one model: quietly, offline if asked, and with errors of one line."""

from __future__ import annotations

import copy
import difflib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unwrite.errors import UnwriteError, is_out_of_memory, reason_of
from unwrite.models.fixed_day import prints_day, with_day

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DATA = Path(".unwrite/datasets")
_LONGEST = 2048
"""Tokens of a document that a batch is sized for; hardly a task has longer ones."""
_CPU_TOKENS = 16384
_NEAR = 5


def find_tasks(names: Sequence[str], folder: Path | None) -> Any:
    """Return the harness's task manager, after checking that it knows every task.

    Args:
        names: tasks, groups or tags.
        folder: task definitions of the user's own; None for those of the harness alone.

    Raises:
        UnwriteError: the folder does not exist, or there is no such task; the message has the nearest names.
    """
    if folder is not None and not folder.is_dir():
        raise UnwriteError(f"evaluate.harness.task_folder must be a folder with task definitions, got {folder}.")
    with _contained(progress=False):
        from lm_eval.tasks import TaskManager

        if folder is not None:  # the harness's own 14,000 definitions take seconds to read
            own = TaskManager(include_path=str(folder), include_defaults=False)
            if set(names) <= set(own.all_subtasks):
                return own
        manager = TaskManager(include_path=None if folder is None else str(folder))
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=_NEAR)
            hint = f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists all of them."
            raise UnwriteError(f"evaluate.benchmarks: lm-evaluation-harness has no task {name!r}; {hint}")
    return manager


def run_harness(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    manager: Any,
    *,
    few_shot: int | None,
    limit: int | None,
    batch_size: int | str,
    chat_template: bool = False,
    system_prompt: str | None = None,
    template_arguments: Mapping[str, object] = {},
    response_prefix: str = "",
    today: date | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a model on tasks, and return the harness's results with the values of every document.

    Neither code of data sets nor of tasks that the harness marks as unsafe is run.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        names: tasks, groups or tags.
        manager: from `find_tasks`.
        few_shot: examples before each question; None for as many as the task says.
        limit: documents per task; None for all.
        batch_size: documents per forward pass, or `auto` as the harness does it.
        chat_template: whether questions are chat messages. The four arguments below have a meaning only then.
        system_prompt: the system message; None for none.
        template_arguments: further arguments of the chat template.
        response_prefix: text that every response begins with, before what a task puts there itself.
        today: the date that the template prints as today's.
        progress: whether the harness's own progress bars are shown.

    Raises:
        UnwriteError: the data of a task cannot be loaded, or the task cannot be run.
    """
    further: dict[str, object] = {}
    if chat_template and today is not None and prints_day(template := tokenizer.get_chat_template()):
        tokenizer = copy.copy(tokenizer)
        tokenizer.chat_template, further = with_day(template, today)
    with _contained(progress=progress):
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        wrapped = HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            backend="causal",
            batch_size=batch_size,
            chat_template_args={**template_arguments, **further},
        )
        wrapped.apply_chat_template = _with_prefix(wrapped.apply_chat_template, response_prefix)
        try:
            results: dict[str, Any] = lm_eval.simple_evaluate(
                model=wrapped,
                tasks=list(names),
                task_manager=manager,
                num_fewshot=few_shot,
                limit=limit,
                apply_chat_template=chat_template,
                system_instruction=system_prompt if chat_template else None,
                log_samples=True,
            )
        except _task_errors() as error:
            if is_out_of_memory(error):
                raise
            raise _task_error(names, error) from error
    return results


def _with_prefix(render: Callable[..., str], prefix: str) -> Callable[..., str]:
    """Return the harness's rendering of a chat with a prefix at the start of the response."""

    def rendered(chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        if add_generation_prompt:
            return render(chat_history, add_generation_prompt=True) + prefix
        *before, begun = chat_history  # the task itself gives the beginning of the response
        begun = {**begun, "content": prefix + begun["content"]}
        return render([*before, begun], add_generation_prompt=False)

    return rendered


def documents_per_pass(batch_tokens: int | str, device: str, *, padding_sensitive: bool) -> int | str:
    """Return the batch size for the harness: what `runtime.batch_tokens` comes to, for documents of 2048 tokens.

    Args:
        batch_tokens: tokens in a forward pass, or `auto`: on a GPU, the harness tries what fits.
        device: type of the device.
        padding_sensitive: whether padding changes what the model computes.
    """
    if padding_sensitive:
        return 1
    if batch_tokens == "auto":
        return "auto" if device == "cuda" else _CPU_TOKENS // _LONGEST
    return max(1, int(batch_tokens) // _LONGEST)


def _task_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions with which the harness and the data sets' library report data and tasks that fail."""
    from datasets.exceptions import DatasetsError

    return (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, DatasetsError)


def _task_error(names: Sequence[str], error: Exception) -> UnwriteError:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and isinstance(cause, Exception):
        causes.append(cause)
    # Where the hub is out of reach, libraries raise errors of several kinds.
    offline = any(isinstance(one, ConnectionError) or "offline" in str(one).lower() for one in causes)
    remedy = " Check the network: the data of most tasks comes from the hub." if offline else ""
    return UnwriteError(f"evaluate.benchmarks: {', '.join(names)} cannot be run ({reason_of(error)}).{remedy}")


@contextmanager
def _contained(*, progress: bool) -> Iterator[None]:
    """Keep the harness's messages and warnings to itself while open, except errors, and its data in the project."""
    loud = sys.stderr
    logger = logging.getLogger("lm_eval")
    handler, level, propagate = logging.StreamHandler(loud), logger.level, logger.propagate
    handler.setFormatter(logging.Formatter("lm-eval: %(message)s"))
    with (
        warnings.catch_warnings(),
        Path(os.devnull).open("w") as nowhere,
        nullcontext() if progress else redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")  # about its own dependencies
        import datasets

        folder = datasets.config.HF_DATASETS_CACHE
        if "HF_DATASETS_CACHE" not in os.environ:
            datasets.config.HF_DATASETS_CACHE = str(_DATA.absolute())
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
            datasets.config.HF_DATASETS_CACHE = folder
