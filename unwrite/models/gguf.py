"""Read a GGUF file, quantized or not, into a plain checkpoint whose weights can be edited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from unwrite.errors import UnwriteError, reason_of
from unwrite.models.gguf_header import read_gguf_header

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_SETTINGS_OF_THIS_RUN = ("is_local", "local_files_only")  # which transformers would store with the tokenizer


def dequantize(file: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the model in a GGUF file as a plain checkpoint: configuration, tokenizer, chat template, safetensors.

    Every weight is computed by itself, in float32, and rounded to `dtype`: the same bytes on every machine with the
    same transformers.

    Args:
        file: the GGUF file.
        folder: the folder to write into.
        dtype: the dtype to store.

    Raises:
        UnwriteError: a package is not installed; the file is missing, damaged, or of an architecture that transformers
            does not convert; or the folder cannot be written.
    """
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


def gguf_config(file: Path) -> PreTrainedConfig:
    """Return the configuration of the model in a GGUF file, without reading its weights.

    Raises:
        UnwriteError: as in `dequantize`.
    """
    from transformers import AutoConfig

    with _conversion_errors(file):
        return cast("PreTrainedConfig", AutoConfig.from_pretrained(file.parent, gguf_file=file.name))


def _load(file: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return the tokenizer and the model, with its weights dequantized."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # missing tensors are reported below, in one line
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    plain: Any = GgufConfig(dequantize=True)
    options = {"dtype": dtype, "quantization_config": plain, "output_loading_info": True}
    with _conversion_errors(file), _bars_on_terminals():
        tokenizer = AutoTokenizer.from_pretrained(**source)
        loaded: Any = AutoModelForCausalLM.from_pretrained(**source, **options)
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise UnwriteError(f"{file} has no tensor {missing[0]} ({len(missing)} in all). Get it again.")
    return tokenizer, model


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Show the bars of transformers on a terminal only: a log would keep every step of them."""
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils import logging

    reading: Any = modeling_gguf_pytorch_utils
    original = reading.tqdm
    logging.disable_progress_bar()
    reading.tqdm = partial(original, disable=None)
    try:
        yield
    finally:
        reading.tqdm = original


@contextmanager
def _conversion_errors(file: Path) -> Iterator[None]:
    """Raise whatever transformers raises for a file that is whole as an `UnwriteError` that names the architecture."""
    header = read_gguf_header(file)
    try:
        yield
    except Exception as error:  # transformers has no error of its own for what it cannot convert
        raise UnwriteError(
            f"transformers {version('transformers')} cannot convert {file}, whose architecture is "
            f"{header.architecture} ({reason_of(error)}). Use a safetensors checkpoint of the model."
        ) from error
