"""Loading configuration, tokenizer and model from a local folder, with errors a person can act on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.quantized import load_quantized

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

REMOTE_CODE_VARIABLE = "UNWRITE_TRUST_REMOTE_CODE"
_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


def trust_remote_code() -> bool:
    """Whether the person who runs this allows code that comes with a model: their environment says so, nothing else."""
    return os.environ.get(REMOTE_CODE_VARIABLE) == "1"


def load_config(folder: Path, *, weights: bool = True) -> PreTrainedConfig:
    """The model's configuration; without `weights`, also of a checkpoint whose weights can't be edited (quantized).

    Raises:
        UnwriteError: It is missing or damaged, needs remote code that was not allowed, or is of an adapter, a
            classifier or a quantized checkpoint.
    """
    from transformers import AutoConfig

    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UnwriteError(f"{folder} holds an adapter, not a model: merge it into its base model first.")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code())
    except _errors() as error:
        raise UnwriteError(f"{folder}: can't read the model's configuration: {_reason(error)}") from error
    names = getattr(config, "architectures", None) or []
    if names and all(name.endswith(_CLASSIFIERS) for name in names):
        raise UnwriteError(f"{folder} is a {names[0]}, which scores text. Expected a model that generates it.")
    for part in (config, config.get_text_config(decoder=True)):  # of an image-text model only the text may be quantized
        quantization = getattr(part, "quantization_config", None)
        if quantization is None:
            continue
        if weights:
            method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
            raise UnwriteError(
                f"{folder} is a quantized checkpoint ({method or 'unknown method'}); its weights can't be edited "
                "exactly. Point model.source at the unquantized one."
            )
        part.quantization_config = None
    return cast("PreTrainedConfig", config)


def model_class(config: PreTrainedConfig) -> Any:
    """The transformers auto class that builds a model with an output head from this config.

    Raises:
        UnwriteError: There is none: it is not a language model, or of a version of transformers that is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    classes = (AutoModelForCausalLM, AutoModelForImageTextToText)
    known = [auto_class for auto_class in classes if type(config) in auto_class._model_mapping]
    # A model that comes with its own code is not known; its config says which classes the code has.
    own = [auto_class for auto_class in classes if auto_class.__name__ in (getattr(config, "auto_map", None) or {})]
    if not known + own:
        raise UnwriteError(
            f"transformers has no language model for configs of type {config.model_type!r}. "
            "Expected a causal language model, or an image-text model; a newer transformers may know it."
        )
    return (known + own)[0]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        UnwriteError: It is missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code())
    except _errors() as error:
        raise UnwriteError(f"{folder}: can't load the tokenizer: {_reason(error)}") from error
    return cast("PreTrainedTokenizerBase", tokenizer)


def load_model(folder: Path, dtype: str, device: torch.device, quantization: str = "none") -> PreTrainedModel:
    """A language model with its output head in evaluation mode, from safetensors only.

    Args:
        folder: With the model's files.
        dtype: Name of the torch dtype to compute in.
        device: Where to put it.
        quantization: `none`, or how its linear layers hold their weights (`quantized.load_quantized`).

    Raises:
        UnwriteError: It can't be loaded or quantized, its tensors are not those of its configuration, or it does not
            fit in memory.
    """
    from transformers.utils import logging

    config = load_config(folder)
    auto_class = model_class(config)
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # the report of what was missing is raised below, in one line

    def load(options: Mapping[str, Any]) -> PreTrainedModel:
        loaded: Any = auto_class.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            trust_remote_code=trust_remote_code(),
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below
            output_loading_info=True,
            **options,
        )
        model, report = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
        _refuse_gaps(folder, report)
        model.eval()
        return model

    try:
        if quantization == "none":
            model = load({})
            model.to(device)  # type: ignore[arg-type]  # nn.Module.to, behind a decorator that hides its types
        else:
            with torch.device("meta"):
                skeleton = auto_class.from_config(config, trust_remote_code=trust_remote_code())
            model = load_quantized(load, skeleton, quantization, getattr(torch, dtype), device)
    except torch.OutOfMemoryError as error:
        raise UnwriteError(
            f"{folder} does not fit in the memory of {device}: use a smaller model or device."
        ) from error
    except _errors() as error:
        raise UnwriteError(f"{folder}: can't load the model: {_reason(error)}") from error
    model.requires_grad_(False)
    return model


def _refuse_gaps(folder: Path, report: dict[str, Any]) -> None:
    for kind, what in (("missing_keys", "has no tensor"), ("mismatched_keys", "has another shape for")):
        # A mismatch comes with both shapes.
        if names := sorted(key[0] if isinstance(key, tuple) else str(key) for key in report.get(kind) or ()):
            raise UnwriteError(
                f"{folder} {what} {names[0]} ({len(names)} in all): checkpoint and config.json disagree."
            )


def _errors() -> tuple[type[Exception], ...]:
    """What transformers raises for files that are missing, damaged, or of a kind it doesn't know."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    known = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
    return (*known, StrictDataclassError, SafetensorError)


def _reason(error: Exception) -> str:
    """An error of a library in one line."""
    if "trust_remote_code" in str(error):
        return f"it needs code that comes with it; set {REMOTE_CODE_VARIABLE}=1 if you trust that code."
    return reason_of(error)


def pick_device(name: str) -> torch.device:
    """The device that `runtime.device` means; `auto` is a GPU if there is one.

    Raises:
        UnwriteError: There is no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UnwriteError(
            f"runtime.device is {name!r}, which can't be used ({_reason(error)}): set it to auto or cpu."
        ) from error
    return device
