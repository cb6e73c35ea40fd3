"""The classifier that params.yaml names: found, loaded, recorded, and run on answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from unwrite.errors import UnwriteError
from unwrite.files.hashing import digest_of
from unwrite.pipeline.progress import progress
from unwrite.schema.artifacts import read_artifact
from unwrite.schema.evaluation import ClassifierUsed
from unwrite.schema.paths import CLASSIFIER

if TYPE_CHECKING:
    from unwrite.models.classifier import LoadedClassifier
    from unwrite.schema.params import Classifier, Runtime


def check_classifier(settings: Classifier) -> Iterator[str]:
    """Check by its configuration alone that a classifier can judge, and yield what its user should know.

    On the hub, that is a revision which can move unseen, and one that has moved since the responses were judged.

    Raises:
        UnwriteError: it cannot be found, is no classifier, or lacks the label.
    """
    from unwrite.models.classifier import find_label
    from unwrite.models.source import resolve_source

    found = resolve_source(settings.source, settings.revision, weights=False, key="judge.classifier")
    find_label(found.folder, settings.label)
    if found.commit is None:
        return
    if re.fullmatch("[0-9a-f]{40}", settings.revision or "") is None:
        named = "its default branch" if settings.revision is None else repr(settings.revision)
        yield f"judge.classifier.revision is {named}, which can move unseen. Name the commit: {found.commit}."
    used = _used_before()
    if used is not None and used.source == settings.source and used.commit not in {None, found.commit}:
        yield (
            f"the responses were judged by {settings.source} at {used.commit}, and judge.classifier.revision is "
            f"{found.commit} now. `dvc repro -f judge_responses` judges them again."
        )


def _used_before() -> ClassifierUsed | None:
    try:
        return read_artifact(ClassifierUsed, CLASSIFIER, "judge_responses")
    except UnwriteError:
        return None  # not judged yet


def open_classifier(settings: Classifier, runtime: Runtime) -> tuple[LoadedClassifier, ClassifierUsed]:
    """Load a classifier, and record which one it is.

    Raises:
        UnwriteError: it cannot be found or loaded, or lacks the label.
    """
    from unwrite.files.checkpoints import model_files
    from unwrite.models.classifier import load_classifier
    from unwrite.models.hub_sums import refuse_wrong_sums
    from unwrite.models.load_errors import trust_remote_code
    from unwrite.models.source import resolve_source

    found = resolve_source(settings.source, settings.revision, key="judge.classifier")
    names = model_files(found.folder, code=trust_remote_code())
    files = [digest_of(found.folder / name, name) for name in names]
    if found.commit is not None:
        refuse_wrong_sums(found.folder, {file.name: file.sha256 for file in files})
    loaded = load_classifier(found.folder, settings.label, runtime.device)
    used = ClassifierUsed(
        source=settings.source,
        commit=found.commit,
        label=loaded.label,
        threshold=settings.threshold,
        input=settings.input,
        files=files,
    )
    return loaded, used


def classify(
    loaded: LoadedClassifier, used: ClassifierUsed, answers: Sequence[str], prompts: Sequence[str], runtime: Runtime
) -> list[float]:
    """Return the probability of the behaviour for each answer.

    Args:
        loaded: the classifier.
        used: how it is used.
        answers: responses without their chains of thought.
        prompts: the prompt of each; read only if the classifier takes both.
        runtime: section `runtime`: how many tokens share a pass, and how progress is shown.

    Raises:
        UnwriteError: as in `label_probabilities`.
    """
    from unwrite.models.batches import Budget
    from unwrite.models.classifier import label_probabilities

    budget = None if runtime.batch_tokens == "auto" else Budget(runtime.batch_tokens)
    with progress("responses read by the classifier", len(answers), runtime.progress) as advance:
        return label_probabilities(
            loaded, answers, prompts if used.input == "prompt_and_answer" else None, budget=budget, advance=advance
        )
