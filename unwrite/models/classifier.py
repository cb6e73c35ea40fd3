"""A classifier as a judge: any sequence-classification model of transformers, and the probability of one label."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unwrite.errors import UnwriteError
from unwrite.models.batches import (
    FORWARD_TOKENS,
    Advance,
    Budget,
    accepted_inputs,
    by_token_budget,
    do_nothing,
    run_batches,
)
from unwrite.models.compute_dtype import checkpoint_size, choose_dtype, dtype_name, stored_dtype
from unwrite.models.load_errors import load_errors, within_memory
from unwrite.models.loading import load_tokenizer, load_weights, read_config
from unwrite.models.placement import free_memory, pick_device
from unwrite.models.prompt_limits import longest_sequence
from unwrite.models.tokenizer_files import refuse_missing_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_UNSTATED = 10**9
"""A length above which a tokenizer states none: transformers then puts a huge number."""


class LoadedClassifier(NamedTuple):
    """A loaded sequence-classification model, and the label that stands for the behaviour."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label_index: int
    """Index of the label among the logits."""
    label: str
    most_tokens: int | None
    """The longest sequence that model and tokenizer take; None without a limit."""

    @property
    def dtype(self) -> str:
        """The name of the dtype that it computes in."""
        return dtype_name(self.model.dtype)


def load_classifier(folder: Path, label: str | int, device: torch.device | str = "auto") -> LoadedClassifier:
    """Load a classifier from safetensors, in the dtype that its device computes well.

    Args:
        folder: the folder with its files.
        label: the label of the behaviour, by its name in config.json or its index.
        device: the device to load it onto; `auto` takes a GPU if there is one.

    Raises:
        UnwriteError: the folder does not exist, or holds no sequence classifier whose head is trained, or no tokenizer;
            it states no probabilities; it lacks the label.
    """
    from transformers import AutoModelForSequenceClassification

    config, device = read_config(folder), pick_device(device)
    index, name = find_label(folder, label)
    tokenizer = load_tokenizer(folder)
    dtype = choose_dtype("auto", stored_dtype(config), device, checkpoint_size(folder), free_memory())
    with load_errors(f"{folder}: cannot load the classifier"), within_memory(folder, device):
        model = load_weights(AutoModelForSequenceClassification, folder, dtype, {})
        model.to(device)  # type: ignore[arg-type]  # nn.Module.to, behind a decorator that hides its types
    model.requires_grad_(False)
    return LoadedClassifier(model, tokenizer, index, name, _most_tokens(tokenizer, model))


def find_label(folder: Path, label: str | int) -> tuple[int, str]:
    """Find a classifier's label by its configuration alone, and return its index and its name.

    Args:
        folder: the folder with its files; weights are not needed.
        label: as in `load_classifier`, and so are the errors.
    """
    from transformers import AutoModelForSequenceClassification

    config = read_config(folder)
    own = getattr(config, "auto_map", None) or {}
    known = type(config) in AutoModelForSequenceClassification._model_mapping
    if not known and AutoModelForSequenceClassification.__name__ not in own:
        raise _not_a_classifier(folder, f"transformers has none of type {config.model_type!r}")
    if not own:
        _refuse_other_heads(folder, config)
    found = _named_label(folder, config, label)
    refuse_missing_tokenizer(folder)
    return found


def label_probabilities(
    classifier: LoadedClassifier,
    texts: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    budget: Budget | None = None,
    advance: Advance = do_nothing,
) -> list[float]:
    """Return the probability of the classifier's label for each text.

    The softmax of the logits if the classifier chooses one label; the sigmoid of the label's logit if several may hold
    (`problem_type` is multi_label_classification) or if it has only one logit. Texts of one length share a pass, so
    nothing is padded, and no text changes the figure of another one but by rounding. What exceeds the classifier's
    limit is cut off at the end.

    Args:
        classifier: the classifier.
        texts: the texts, such as answers. One without a visible character shows nothing: its probability is 0.
        prompts: the prompt that each text answers; then classifier reads pairs (prompt, text).
        budget: tokens that a pass may hold; lowered when memory runs out.
        advance: called with the number of texts that have just been classified.

    Raises:
        UnwriteError: a logit is not finite, or one text does not fit in memory.
    """
    probabilities = [0.0] * len(texts)
    encoded = _encode(classifier, texts, prompts)
    rows, lengths = list(encoded), [len(inputs["input_ids"]) for inputs in encoded.values()]
    budget, model = budget or Budget(FORWARD_TOKENS), classifier.model
    # A model of decoder layers reads its verdict off the last token before the padding: without a padding token it
    # takes one text at a time.
    alone = model.config.pad_token_id is None
    batches = by_token_budget(lengths, budget.tokens, 1 if alone else None, padding_sensitive=True)

    @torch.inference_mode()
    def classify(batch: Sequence[int]) -> None:
        inputs = [encoded[rows[i]] for i in batch]
        tensors = {name: torch.tensor([one[name] for one in inputs], device=model.device) for name in inputs[0]}
        logits = model(**accepted_inputs(model, tensors)).logits.double().cpu()
        if not logits.isfinite().all():
            raise UnwriteError("The classifier outputs NaN or infinity. Use another one, or set runtime.device to cpu.")
        for i, probability in zip(batch, _probabilities(model.config, logits, classifier.label_index), strict=True):
            probabilities[rows[i]] = float(probability)
        advance(len(batch))

    advance(len(texts) - len(rows))
    run_batches(classify, batches, lengths, budget)
    return probabilities


def _probabilities(config: PreTrainedConfig, logits: Tensor, index: int) -> Tensor:
    """Return the probability of a label from logits [texts, labels]."""
    if _is_multi_label(config):
        return logits[:, index].sigmoid()
    return logits.softmax(-1)[:, index]


def _is_multi_label(config: PreTrainedConfig) -> bool:
    return config.num_labels == 1 or config.problem_type == "multi_label_classification"


def _encode(
    classifier: LoadedClassifier, texts: Sequence[str], prompts: Sequence[str] | None
) -> dict[int, dict[str, list[int]]]:
    """Return the inputs of each text that shows something, by its row, cut at the classifier's limit.

    Raises:
        UnwriteError: the model has no embedding for a token.
    """
    tokenizer: Any = classifier.tokenizer
    embedding: Any = classifier.model.get_input_embeddings()
    limit, cut, vocabulary = classifier.most_tokens, 0, len(embedding.weight)
    encoded = {}
    for row, text in enumerate(texts):
        pair = (text,) if prompts is None else (prompts[row], text)
        inputs = dict(tokenizer(*pair, verbose=False))
        if limit is not None and len(inputs["input_ids"]) > limit:
            inputs, cut = dict(tokenizer(*pair, truncation="longest_first", max_length=limit)), cut + 1
        if max(inputs["input_ids"], default=0) >= vocabulary:
            raise UnwriteError(
                f"The classifier's tokenizer gives token {max(inputs['input_ids'])}, but its model knows only "
                f"{vocabulary}: they do not belong together."
            )
        if text.strip() and inputs["input_ids"]:
            encoded[row] = inputs
    if cut:
        logger.info("%d of %d texts are longer than the classifier takes (%s tokens): cut.", cut, len(texts), limit)
    return encoded


def _most_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int | None:
    """Return how many tokens the classifier takes at most: what its tokenizer or its configuration says."""
    limits = [] if tokenizer.model_max_length > _UNSTATED else [tokenizer.model_max_length]
    if (positions := longest_sequence(model.config)) is not None:
        # Models such as RoBERTa count positions from the one after the padding's.
        tables = (table for name, table in model.named_modules() if name.endswith("position_embeddings"))
        padding = next((table.padding_idx for table in tables if isinstance(table, nn.Embedding)), None)
        limits.append(positions if padding is None else positions - padding - 1)
    return min(limits, default=None)


def _named_label(folder: Path, config: PreTrainedConfig, label: str | int) -> tuple[int, str]:
    """Return the index and the name of a label."""
    if config.num_labels == 1 and config.problem_type == "regression":
        raise UnwriteError(f"{folder} predicts a number (problem_type: regression), no probability. Use a classifier.")
    names = {int(index): str(name) for index, name in (config.id2label or {}).items()}
    for index, name in names.items():
        if label == (name if isinstance(label, str) else index):
            return index, name
    listed = ", ".join(f"{name} ({index})" for index, name in sorted(names.items()))
    raise UnwriteError(f"judge.classifier.label is {label!r}, which {folder} lacks. Its labels: {listed}.")


def _refuse_other_heads(folder: Path, config: PreTrainedConfig) -> None:
    """Refuse a checkpoint of another kind, whose head transformers would fill with random numbers."""
    names = getattr(config, "architectures", None) or []
    if names and not any(name.endswith("ForSequenceClassification") for name in names):
        raise _not_a_classifier(folder, f"it is a {names[0]}")


def _not_a_classifier(folder: Path, reason: str) -> UnwriteError:
    return UnwriteError(f"{folder} is no sequence classifier ({reason}). Name one in judge.classifier.source.")
