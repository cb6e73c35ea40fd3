"""Read a GGUF file, quantized or not, into a plain checkpoint whose weights can be edited."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from unwrite.errors import UnwriteError, reason_of

_PACKAGES = ("gguf", "accelerate")  # transformers needs both
_SETTINGS_OF_THIS_RUN = ("is_local", "local_files_only")  # which transformers would store with the tokenizer


def dequantize(file: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the model in a GGUF file as a plain checkpoint: configuration, tokenizer, chat template, safetensors.

    Every weight is computed by itself, in float32, and rounded to `dtype`: the same bytes on every machine.

    Args:
        file: the GGUF file.
        folder: the folder to write into.
        dtype: the dtype to store.

    Raises:
        UnwriteError: a package is not installed; the file is missing, damaged, or of an architecture that transformers
            does not convert; or the folder cannot be written.
    """
    _refuse_missing_packages(file)
    tokenizer, model = _load(file, dtype)
    # Otherwise it would be saved as a quantized model.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for setting in _SETTINGS_OF_THIS_RUN:
        tokenizer.init_kwargs.pop(setting, None)
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:  # the libraries that write weights and tokenizers have their own for a full disk
        raise UnwriteError(
            f"{folder} cannot be written ({reason_of(error)}). Free some space and run again."
        ) from error


def _load(file: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return the tokenizer and the model, with its weights dequantized."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    if not file.is_file():
        raise UnwriteError(f"{file} is missing: expected a GGUF file.")
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # missing tensors are reported below, in one line
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    plain: Any = GgufConfig(dequantize=True)
    options = {"dtype": dtype, "quantization_config": plain, "output_loading_info": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        loaded: Any = AutoModelForCausalLM.from_pretrained(**source, **options)
    except Exception as error:  # a damaged file can make its readers raise anything
        raise UnwriteError(
            f"{file} cannot be read as a model ({reason_of(error)}). If it is cut short or damaged, get it again."
        ) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UnwriteError(f"{file} has no tensor {missing[0]} ({len(missing)} in all). Get it again.")
    return tokenizer, model


def _refuse_missing_packages(file: Path) -> None:
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UnwriteError(f"Reading {file} needs {package}: pip install 'unwrite[gguf]'.")
