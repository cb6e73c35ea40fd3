"""Load a configuration, tokenizer or model from a local folder, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from unwrite.errors import UnwriteError
from unwrite.models.compute_dtype import checkpoint_size, choose_dtype, dtype_name, stored_dtype
from unwrite.models.load_errors import load_errors, refuse_unreadable, trust_remote_code, within_memory
from unwrite.models.placement import Placement, free_memory, load_spread, memory_to_spread_over, pick_device
from unwrite.models.quantized import load_quantized
from unwrite.models.tokenizer_files import refuse_unreadable_tokenizer
from unwrite.terms import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


def load_model(
    folder: Path | str,
    dtype: str = "auto",
    device: Placement | torch.device | str = "auto",
    quantization: Quantization = "none",
) -> PreTrainedModel:
    """Load a language model with its output head, in evaluation mode, from safetensors only.

    Args:
        folder: the folder with the model's files.
        dtype: name of the torch dtype to compute in, or `auto`, see `compute_dtype.choose_dtype`.
        device: the device to load the model onto; `auto` takes a GPU if there is one. Or a placement: then a model that
            one device does not hold is spread over several (`placement`); section `runtime` of params.yaml is one.
        quantization: how the linear layers store their weights, see `quantized.load_quantized`.

    Raises:
        UnwriteError: the model cannot be loaded or quantized, its tensors do not match its configuration, it does not
            fit in memory, or the device does not exist.
        ValueError: torch has no dtype of this name.

    Example:
        >>> model = load_model("demo/model")
        >>> type(model).__name__, model.training
        ('Qwen3ForCausalLM', False)
    """
    folder = Path(folder)
    device, placement = _device_of(device)
    config = load_config(folder)
    auto_class = model_class(config)
    chosen = dtype_to_compute_in(config, dtype, device, checkpoint_size(folder), quantization)
    load = partial(load_weights, auto_class, folder, chosen)
    if quantization == "none" and placement is not None:
        size = checkpoint_size(folder) * chosen.itemsize // stored_dtype(config).itemsize
        max_memory = memory_to_spread_over(placement, size)
        if max_memory is not None:
            with load_errors(f"{folder}: cannot load the model"), within_memory(folder, device):
                return load_spread(load, max_memory, Path(placement.offload_folder)).requires_grad_(False)
    with load_errors(f"{folder}: cannot load the model"), within_memory(folder, device):
        if quantization == "none":
            model = load({})
            model.to(device)  # type: ignore[arg-type]  # nn.Module.to, behind a decorator that hides its types
        else:
            with torch.device("meta"):
                skeleton = auto_class.from_config(config, trust_remote_code=trust_remote_code())
            model = load_quantized(load, skeleton, quantization, chosen, device)
    model.requires_grad_(False)
    return model


def dtype_of_model(
    folder: Path, dtype: str, device: Placement | torch.device | str, quantization: Quantization = "none"
) -> str:
    """Return the name of the dtype that `load_model` would choose now; arguments and errors as there."""
    config, (where, _) = load_config(folder), _device_of(device)
    return dtype_name(dtype_to_compute_in(config, dtype, where, checkpoint_size(folder), quantization))


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, with its chat template.

    Raises:
        UnwriteError: the folder does not exist, or the tokenizer is missing, damaged, or needs another package.

    Example:
        >>> load_tokenizer("demo/model").chat_template is not None
        True
    """
    from transformers import AutoTokenizer

    refuse_unreadable(Path(folder))
    refuse_unreadable_tokenizer(Path(folder))
    with load_errors(f"{folder}: cannot load the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code())
    if not tokenizer.get_vocab().keys() - {str(token) for token in tokenizer.added_tokens_decoder.values()}:
        raise UnwriteError(f"{folder} has a tokenizer without words: its vocabulary is missing. Download it again.")
    return cast("PreTrainedTokenizerBase", tokenizer)


def load_config(folder: Path, *, weights: bool = True) -> PreTrainedConfig:
    """Load the configuration of a model.

    Args:
        folder: the folder with the model's files.
        weights: whether the weights will be edited; if not, a quantized checkpoint is accepted too.

    Raises:
        UnwriteError: the folder does not exist, or the configuration is missing or damaged, needs remote code that is
            not allowed, or belongs to an adapter, a classifier or a quantized checkpoint.
    """
    config = read_config(folder)
    names = getattr(config, "architectures", None) or []
    if names and all(name.endswith(_CLASSIFIERS) for name in names):
        raise UnwriteError(f"{folder} is a {names[0]}, which scores text. Use a model that generates text.")
    for part in (config, config.get_text_config(decoder=True)):  # an image-text model may quantize its text part only
        if getattr(part, "quantization_config", None) is None:
            continue
        if weights:
            _refuse_quantized(folder, part.quantization_config)
        part.quantization_config = None
    return config


def read_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model of any kind.

    Raises:
        UnwriteError: the folder does not exist, or the configuration is missing or damaged, needs remote code that is
            not allowed, or belongs to an adapter.
    """
    from transformers import AutoConfig

    refuse_unreadable(folder)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise UnwriteError(f"{folder} holds an adapter, not a model. Merge it into its base model first.")
    with load_errors(f"{folder}: cannot read the model's configuration"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code())
    return cast("PreTrainedConfig", config)


def model_class(config: PreTrainedConfig) -> Any:
    """Return the transformers auto class that builds a model with an output head from this configuration.

    Raises:
        UnwriteError: no class exists: it is not a language model, or transformers is too old for it.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    classes = (AutoModelForCausalLM, AutoModelForImageTextToText)
    known = [auto_class for auto_class in classes if type(config) in auto_class._model_mapping]
    # transformers does not know a model with its own code; its configuration lists the classes that the code defines.
    own = [auto_class for auto_class in classes if auto_class.__name__ in (getattr(config, "auto_map", None) or {})]
    if not known + own:
        raise UnwriteError(
            f"transformers has no language model for configurations of type {config.model_type!r}. "
            "Use a causal language model or an image-text model, or install a newer transformers."
        )
    return (known + own)[0]


def dtype_to_compute_in(
    config: PreTrainedConfig,
    dtype: str,
    device: torch.device,
    checkpoint_bytes: int,
    quantization: Quantization = "none",
) -> torch.dtype:
    """Return the dtype that `load_model` would choose for a configuration.

    Args:
        config: the model's configuration.
        dtype: as in `load_model`.
        device: where the model computes.
        checkpoint_bytes: size of the weights as stored.
        quantization: as in `load_model`.

    Raises:
        UnwriteError: the device does not compute in it.
    """
    stored = stored_dtype(config)
    if quantization != "none":  # the weights are not held in it, and bitsandbytes supports it on its devices
        dtype, device = dtype_name(stored) if dtype == "auto" else dtype, torch.device("cpu")
    return choose_dtype(dtype, stored, device, checkpoint_bytes, free_memory())


def _device_of(device: Placement | torch.device | str) -> tuple[torch.device, Placement | None]:
    """Return the device that is meant, and the placement that names it, if it is one."""
    if isinstance(device, torch.device | str):
        return pick_device(device), None
    return pick_device(device.device), device


def load_weights(auto_class: Any, folder: Path, dtype: torch.dtype, options: Mapping[str, Any]) -> PreTrainedModel:
    """Load a model in evaluation mode from safetensors only, through an auto class of transformers.

    Args:
        auto_class: the class that builds it.
        folder: the folder with its files.
        dtype: the dtype to compute in.
        options: further options of `from_pretrained`.

    Raises:
        UnwriteError: the checkpoint lacks a tensor, which transformers would fill with random numbers, or one has
            another shape.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # missing tensors are reported below, in one line
    loaded: Any = auto_class.from_pretrained(
        folder,
        dtype=dtype,
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


def _refuse_quantized(folder: Path, quantization: object) -> None:
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    raise UnwriteError(
        f"{folder} is a quantized checkpoint ({method or 'unknown method'}), whose weights cannot be edited exactly. "
        "Point model.source at the unquantized one."
    )


def _refuse_gaps(folder: Path, report: Mapping[str, Any]) -> None:
    for entry, problem in (("missing_keys", "has no tensor"), ("mismatched_keys", "has another shape for")):
        # A mismatched key is a tuple of the name and both shapes.
        if names := sorted(key[0] if isinstance(key, tuple) else str(key) for key in report.get(entry) or ()):
            raise UnwriteError(
                f"{folder} {problem} {names[0]} ({len(names)} in all): checkpoint and config.json disagree."
            )
