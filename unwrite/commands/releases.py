"""Commands for releases: verify, explain, publish."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from unwrite.commands.running import FILE, FOLDER, expected_errors
from unwrite.errors import UnwriteError
from unwrite.terms import OVERRIDES

_UNUSUAL = 3  # the exit code of a release that is as declared, but unusual


@click.command()
@click.argument("release")
@click.option("--base", help="The base: a folder, a GGUF file, or a hub id (at the commit that the release declares).")
@click.option("--revision", help="Branch, tag or commit of RELEASE, if it is a hub id.")
@click.option("--key", type=FILE, help="Public key (PEM) of the person who signed the release.")
@click.option(
    "--workers",
    default="1",
    show_default=True,
    help="Processes that read the shards: a number here, auto or ray://HOST:PORT for a Ray cluster. 1 is this process.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@expected_errors
def verify(
    *, release: str, base: str | None, revision: str | None, key: Path | None, workers: str, as_json: bool
) -> None:
    """Check that RELEASE (a folder or hub id) is its base plus the declared edit, and nothing more.

    Needs only the two models: no repository and no GPU. The exit code is 1 if anything is wrong, and 3 if
    the edit is as declared, but unusual.
    """
    from unwrite.errors import as_user_error
    from unwrite.models.preload import everything_kept
    from unwrite.release.writer_process import writers_process
    from unwrite.schema.params import workers_value

    with as_user_error("--workers"):
        count: int | str = workers_value(int(workers) if re.fullmatch(r"-?\d+", workers) else workers)

    local = None if base is None or not Path(base).is_dir() else Path(base)
    with writers_process(local) as find_writers:  # starts before torch is imported here
        with everything_kept():
            from unwrite.files.checkpoints import WEIGHTS
            from unwrite.models.source import resolve_release
            from unwrite.release.verdict import verification_text
            from unwrite.release.verify import verify_release
            from unwrite.workers.shards import open_file_map

        folder = resolve_release(release, revision)
        against = None if base is None else base_folder(folder, base)
        folders = [folder, *([] if against is None else [against])]
        with open_file_map(count, folders, len(list(folder.glob(f"*{WEIGHTS}")))) as map_files:
            verdict = verify_release(folder, against, public_key=key, map_files=map_files, find_writers=find_writers)
    click.echo(verdict.model_dump_json(indent=2) if as_json else verification_text(verdict))
    sys.exit((_UNUSUAL if verdict.unusual else 0) if verdict.passed else 1)


def base_folder(release: Path, base: str) -> Path:
    """Return the folder of a release's base: an existing one, that of a GGUF file, or the commit that it declares.

    Args:
        release: folder of the release.
        base: a folder, a GGUF file or a hub id.
    """
    from unwrite.models.gguf_header import is_gguf
    from unwrite.models.source import resolve_source
    from unwrite.pipeline.dequantized import dequantized_folder
    from unwrite.release.base_source import refuse_other_gguf
    from unwrite.release.manifest import read_manifest

    path = Path(base)
    if is_gguf(path) and not path.is_dir():
        if path.is_file():
            refuse_other_gguf(path, read_manifest(release).external.base)
        return dequantized_folder(path).folder
    return path if path.exists() else resolve_source(base, declared_commit(release, base)).folder


def declared_commit(release: Path, base: str) -> str:
    """Return the base's commit that the manifest declares; a branch may have moved since."""
    from unwrite.release.manifest import read_manifest

    commit = read_manifest(release).external.base.get("commit")
    if commit is None or re.fullmatch("[0-9a-f]{40}", commit) is None:
        raise UnwriteError(
            f"{base!r} is not a folder, and cannot be used as a hub id: the release declares no base commit. "
            "Name the folder of a base that you trust."
        )
    return commit


@click.command()
@click.argument("release", type=FOLDER)
@expected_errors
def explain(release: Path) -> None:
    """Explain on one page how the RELEASE in a folder was made, from which inputs, and what was measured."""
    from unwrite.release.explain import explain_release

    click.echo(explain_release(release))


@click.command()
@click.option("--folder", type=FOLDER, help="Write the release into this folder.")
@click.option("--repository", metavar="ORG/NAME", help="Upload it to this repository of the hub.")
@click.option("--private", is_flag=True, help="Keep the repository private.")
@click.option("--sign", type=FILE, metavar="KEY", help="Sign it with this private key (PEM, elliptic curve).")
@click.option("--notes", type=FILE, help="Your own Markdown, added at the end of the card.")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(OVERRIDES),
    help="Publish despite this problem; the manifest records it. Can be given several times.",
)
@expected_errors
def publish(
    *, folder: Path | None, repository: str | None, private: bool, sign: Path | None, notes: Path | None, allowed: Any
) -> None:
    """Put a release together (model, card, manifest, parameters, dvc.lock), verify it, and write or upload it.

    Refused if the tree has uncommitted changes, a stage is out of date, an artifact is not what its stage wrote, or the
    release does not verify.
    """
    from unwrite.files.threads import processors
    from unwrite.release.publish import assemble_release

    if folder is None and repository is None:
        raise click.UsageError("Name a destination: --folder PATH, --repository ORG/NAME, or both.")
    if repository is not None and repository.count("/") != 1:
        raise click.UsageError(f"{repository!r} is not a valid repository name: expected ORG/NAME.")
    # The hub gets exactly the folder that is verified here; without --folder it is temporary.
    with nullcontext(folder) if folder is not None else _temporary_folder() as target:
        passed = assemble_release(target, allowed=allowed, private_key=sign, notes=notes, threads=processors())
        if folder is not None:
            click.echo(f"The release is in {folder}.")
        if "unverified" not in passed:
            click.echo(f"It is verified against its base{', and signed' if sign else ''}.")
        if passed:
            click.echo(f"Published despite: {', '.join(passed)}.")
        if repository is not None:
            from unwrite.release.hub import upload_release

            published = upload_release(target, repository, private=private)
            click.echo(f"Published: {published.url}")
            if published.private:
                click.echo("The repository is private; its settings on the hub can make it public.")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder on the project's disk, which has room for the model, and remove it at the end."""
    folder = Path(".unwrite/publish")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
