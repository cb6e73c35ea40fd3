"""The classifier that params.yaml names: found, loaded, recorded, and run on answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unwrite.files.hashing import digest_of
from unwrite.pipeline.progress import progress
from unwrite.schema.evaluation import ClassifierUsed

if TYPE_CHECKING:
    from unwrite.models.classifier import LoadedClassifier
    from unwrite.schema.params import Classifier, Runtime


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
