"""Settings of DVC that cost time, disk or trust later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unwrite.doctor.diagnosis import Diagnosis

_DEFAULT_LINKS = ("reflink", "copy")  # DVC's own
_SECRETS = ("access_key_id", "secret_access_key", "session_token", "password", "sas_token", "account_key")


def examine_dvc(folder: Path) -> Iterator[Diagnosis]:
    """Examine the cache and the remotes of the DVC project in a folder."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo(str(folder))
    except DvcException as error:
        yield Diagnosis("stop", f"DVC cannot open this folder ({error}).", "make a project with `unwrite init DIR`.")
        return
    with repo:
        configured = repo.config["cache"].get("type") or _DEFAULT_LINKS
        possible = working_links(repo)
        yield link_finding(configured, possible)
        yield from remote_findings(repo.config["remote"])


def stored_twice(folder: Path) -> bool:
    """Return whether DVC's cache holds a copy of every artifact, because no link that is configured works here."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            return _first_link(repo.config["cache"].get("type") or _DEFAULT_LINKS, working_links(repo)) == "copy"
    except DvcException:
        return True


def working_links(repo: Any) -> list[str]:
    """Return which links work between the cache and the workspace of a DVC repository."""
    from dvc.fs import generic

    cache = repo.cache.local
    Path(cache.path).mkdir(parents=True, exist_ok=True)
    return list(generic.test_links(["reflink", "hardlink", "symlink"], cache.fs, cache.path, repo.fs, repo.root_dir))


def link_finding(configured: Sequence[str], possible: Sequence[str]) -> Diagnosis:
    """Say how artifacts get into the cache.

    Args:
        configured: `cache.type`, the preferred kind first.
        possible: the kinds of links that work here.
    """
    link = _first_link(configured, possible)
    if link != "copy":
        return Diagnosis("ok", f"DVC's cache and the artifacts share their bytes ({link}).")
    if not {"reflink", "hardlink"} & set(possible):
        where = "`dvc cache dir PATH` puts the cache on the disk of the project, where links work."
        return Diagnosis("note", "DVC's cache copies every artifact: each takes its size twice.", where)
    remedy = "dvc config cache.type reflink,hardlink,copy."
    return Diagnosis("note", "cache.type makes DVC copy every artifact: each takes its size twice.", remedy)


def remote_findings(remotes: Mapping[str, Mapping[str, Any]]) -> Iterator[Diagnosis]:
    """Say what each remote lacks.

    Args:
        remotes: settings of each remote by name.
    """
    if not remotes:
        yield Diagnosis("ok", "DVC has no remote: artifacts are on this machine alone.")
    for name, settings in remotes.items():
        if not settings.get("verify"):
            fact = f"Remote {name}: a damaged object is pulled as if it were whole."
            yield Diagnosis("note", fact, f"dvc remote modify {name} verify true.")
        else:
            yield Diagnosis("ok", f"Remote {name}: what is pulled is verified.")


def committed_secrets(config: Path) -> Iterator[Diagnosis]:
    """Find credentials in the config file that git keeps.

    Args:
        config: `.dvc/config`.
    """
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    for key in _SECRETS:
        if any(line.split("=")[0].strip() == key for line in text.splitlines()):
            yield Diagnosis("note", f"{config} has {key}, and git keeps that file.", "dvc remote modify --local.")


def _first_link(configured: Sequence[str], possible: Sequence[str]) -> str:
    return next((link for link in configured if link == "copy" or link in possible), "copy")
