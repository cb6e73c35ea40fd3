"""The source of a model: a local folder, or a hub id resolved to one commit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from unwrite.errors import UnwriteError
from unwrite.models.download_errors import download_errors
from unwrite.models.folder import local_folder
from unwrite.models.gguf_header import is_gguf
from unwrite.models.load_errors import trust_remote_code

# The files that describe a model (with its card, for the licence) and its weights. Never pickles; code only if allowed.
_TOKENIZERS = ["*.model", "*.model.*", "*.spm", "*.bpe", "*.tiktoken"]
_DESCRIPTION = ["*.json", "*.jinja", *_TOKENIZERS, "*.txt", "LICENSE*", "NOTICE*", "README.md"]
_WEIGHTS = ["*.safetensors"]
_CODE = ["*.py"]
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Other formats of the same weights: in folders, or next to the shards.
_DUPLICATES = ["*/*", "consolidated*"]
_TEMPLATES = "additional_chat_templates/*.jinja"
"""The one kind of file that a model has in a folder."""


class ModelSource(NamedTuple):
    """A folder with the model's files."""

    folder: Path
    commit: str | None
    """The hub commit of the files; None for a local folder."""


def resolve_release(source: str, revision: str | None) -> Path:
    """Return the folder of a release: an existing one, or the download of every file in a hub repository.

    Even undeclared files are downloaded, so that verifying finds them. None of them is run.

    Raises:
        UnwriteError: as for `resolve_source`.
    """
    if Path(source).exists():
        if revision is not None:
            raise UnwriteError(f"--revision is {revision!r}, but {source} is a local folder. Leave --revision out.")
        return Path(source)
    _refuse_unless_hub_id(source)
    return _download(source, revision, patterns=None).folder


def resolve_source(source: str, revision: str | None, *, weights: bool = True, key: str = "model") -> ModelSource:
    """Find a model: an existing folder as it is, a hub id by downloading the commit that `revision` points to.

    Without a network, or with HF_HUB_OFFLINE=1, the hub's local cache is used.

    Args:
        source: a folder or a hub id.
        revision: a branch, tag or commit; None for a local folder, or for the default branch.
        weights: whether to download the weights too, or only the files that describe the model.
        key: the section of params.yaml that names the model, for messages.

    Raises:
        UnwriteError: the folder does not exist and the name is not a hub id, or the hub cannot deliver it.
    """
    folder = local_folder(source)
    if folder.is_file() and is_gguf(folder):
        raise UnwriteError(f"{key}.source is the GGUF file {source}: expected a folder or a hub id.")
    if folder.is_dir():
        if revision is not None:
            raise UnwriteError(f"{key}.revision is {revision!r}, but {source} is a local folder. Set revision to null.")
        return ModelSource(folder, None)
    _refuse_unless_hub_id(source)
    if folder.parent.is_dir():
        raise UnwriteError(
            f"{source!r}: there is no such folder in {folder.parent}/. Correct the name. If you mean a hub id, rename "
            f"the folder {folder.parent}/, because it hides that id."
        )
    return _download(source, revision, patterns=_patterns(weights=weights), key=key)


def locate(source: str, commit: str | None) -> Path:
    """Return the folder of a pinned model, downloading it if needed.

    Raises:
        UnwriteError: as for `resolve_source`.
    """
    if commit is None:
        return resolve_source(source, None).folder
    return _download(source, commit, patterns=_patterns(weights=True)).folder


def _patterns(*, weights: bool) -> list[str]:
    return _DESCRIPTION + _WEIGHTS * weights + _CODE * trust_remote_code()


def _refuse_unless_hub_id(source: str) -> None:
    if not is_hub_id(source):
        raise UnwriteError(f"{source!r}: there is no such folder, and it is not a hub id (organisation/name).")


def is_hub_id(source: str) -> bool:
    """Return whether a name has the form of a hub id: organisation/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))


def _download(repository: str, revision: str | None, *, patterns: list[str] | None, key: str = "model") -> ModelSource:
    from huggingface_hub import snapshot_download

    from unwrite.models.download_lines import SilentBar, bar_class

    with download_errors(repository, revision, key):
        ignored = None if patterns is None else _DUPLICATES
        snapshot = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=ignored,
            tqdm_class=bar_class(),
        )
        if patterns is not None:  # in a call of its own, since patterns of the first that match a folder match any
            commit = Path(snapshot).name
            snapshot_download(repository, revision=commit, allow_patterns=[_TEMPLATES], tqdm_class=SilentBar)
    # The hub's cache keeps one folder per commit, named after it.
    folder = Path(snapshot)
    if patterns is not None and _WEIGHTS[0] in patterns:
        _refuse_other_formats(repository, folder)
    return ModelSource(folder, folder.name)


def _refuse_other_formats(repository: str, folder: Path) -> None:
    """Refuse a repository without safetensors files, naming what it has instead."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    if any(folder.glob(_WEIGHTS[0])):
        return
    try:
        names = [file.path for file in get_cached_repo_tree(repository, revision=folder.name)]
    except CachedRepoTreeNotFoundError:  # a cache that an older library made
        names = []
    if gguf := [name for name in names if name.endswith(".gguf")]:
        raise UnwriteError(
            f"{repository} has its weights as GGUF only. Run `hf download {repository} {gguf[0]} --local-dir DIR` and "
            f"set model.source to DIR/{gguf[0]}."
        )
    pickles = [name for name in names if name.endswith(_PICKLES)]
    what = f", only pickles ({pickles[0]}), which can run code when read" if pickles else ""
    raise UnwriteError(
        f"{repository} has no safetensors files{what}. Name another repository or revision, or convert the weights "
        "(save_pretrained does) and use the folder."
    )
