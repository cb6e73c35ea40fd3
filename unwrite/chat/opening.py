"""Which models a chat is with, and how they are prompted: those of the project here, or a release and its base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from unwrite.chat.prompting import Prompting, prompting_of
from unwrite.chat.speaker import NewChoose, Speaker
from unwrite.errors import UnwriteError
from unwrite.models.loading import dtype_of_model, load_model, load_tokenizer
from unwrite.models.placement import Placement
from unwrite.models.raw_template import RAW_TEMPLATE
from unwrite.models.source import resolve_source
from unwrite.pipeline.base import pinned_folder
from unwrite.pipeline.templates import named_template
from unwrite.release.manifest import read_manifest
from unwrite.schema.artifacts import PromptOrigins, read_artifact, read_base
from unwrite.schema.params import FOUND, PARAMS_FILE, RAW, load_params
from unwrite.schema.paths import MANIFEST, MODEL, PROMPT_TEMPLATE, SOURCES, TOKENS
from unwrite.schema.text import read_text
from unwrite.terms import ModelName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ELSEWHERE = "or name a release: unwrite chat --release FOLDER"


class Opening(NamedTuple):
    """What a chat begins with.

    folders: the folder of each model, by name, in the order in which they are shown.
    threads: CPU threads; 0 leaves torch's own choice.
    template: the text of the chat template; None for each model's own.
    """

    folders: dict[ModelName, Path]
    prompting: Prompting
    dtype: str
    placement: Placement | str
    threads: int
    template: str | None


def project_opening(names: Sequence[ModelName], prompt_set: str = "target") -> Opening:
    """Return the models of the project in this folder, prompted as its params.yaml says.

    Args:
        names: the models to chat with.
        prompt_set: the set whose prompts the messages are like.

    Raises:
        UnwriteError: there is no project here, or it has no such model yet, or no such set.
    """
    if not PARAMS_FILE.exists():
        raise UnwriteError(f"There is no project here ({PARAMS_FILE} is missing): change to its folder, {_ELSEWHERE}.")
    params = load_params()
    base = read_base()
    prefix = params.tokenize.response_prefix
    if prefix == FOUND:
        prefix = read_artifact(PromptOrigins, TOKENS / SOURCES, "tokenize_prompts").response_prefix
    folders: dict[ModelName, Callable[[], Path]] = {
        "base": lambda: pinned_folder(base, weights=False),
        "edited": _merged_folder,
    }
    return Opening(
        folders={name: folders[name]() for name in names},
        prompting=prompting_of(params.model_dump(), str(PARAMS_FILE), prompt_set)._replace(response_prefix=prefix),
        dtype=base.compute_dtype,
        placement=params.runtime,
        threads=params.runtime.threads,
        template=None if params.tokenize.template is None else named_template(params.tokenize.template),
    )


def release_opening(release: str, base: Path | None, names: Sequence[ModelName], prompt_set: str = "target") -> Opening:
    """Return a release and its base, prompted as the release says its models were measured.

    Args:
        release: a folder or a hub id.
        base: the folder of the base; None if only the release speaks.
        names: the models to chat with.
        prompt_set: the set whose prompts the messages are like.

    Raises:
        UnwriteError: there is no such release or set, or its manifest is damaged.
    """
    folder = resolve_source(release, None).folder
    stated = read_manifest(folder).external.parameters
    prompting = prompting_of(stated, str(folder / MANIFEST), prompt_set)
    if prompting.response_prefix == FOUND:
        prompting = prompting._replace(response_prefix="")  # found in the project; here the model may think
    folders: dict[ModelName, Path] = {"edited": folder} if base is None else {"base": base, "edited": folder}
    return Opening(
        folders={name: folders[name] for name in names},
        prompting=prompting,
        dtype="auto",
        placement="auto",
        threads=0,
        template=_template_of_release(folder, stated.get("tokenize", {}).get("template")),
    )


def load_speakers(opening: Opening, *, max_tokens: int, new_choose: NewChoose) -> list[Speaker]:
    """Load the models, all in the dtype that the pipeline would choose for the first of them.

    Args:
        opening: models and settings.
        max_tokens: the longest reply.
        new_choose: makes the function that chooses tokens.

    Raises:
        UnwriteError: a model cannot be loaded, or does not fit in memory.
    """
    import torch

    if opening.threads:
        torch.set_num_threads(opening.threads)
    dtype = dtype_of_model(next(iter(opening.folders.values())), opening.dtype, opening.placement)
    return [
        Speaker(
            name,
            load_model(folder, dtype, opening.placement),
            _tokenizer(folder, opening.template),
            max_tokens=max_tokens,
            new_choose=new_choose,
        )
        for name, folder in opening.folders.items()
    ]


def _tokenizer(folder: Path, template: str | None) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(folder)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def _template_of_release(folder: Path, stated: object) -> str | None:
    """Return the chat template that a release brings along, if its prompts were not rendered with the model's own."""
    if stated is None:
        return None
    return RAW_TEMPLATE if stated == RAW else read_text(folder / PROMPT_TEMPLATE, "download the release again")


def _merged_folder() -> Path:
    if not MODEL.is_dir():
        raise UnwriteError(f"{MODEL} is missing: run `dvc repro merge_model` first, {_ELSEWHERE}.")
    return MODEL
