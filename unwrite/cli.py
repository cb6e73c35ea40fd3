"""The command line. Each command imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click

from unwrite.errors import UnwriteError, missing_package
from unwrite.pipeline.logs import log_to_stderr
from unwrite.pipeline.output import checked_output
from unwrite.pipeline.start import INTERRUPTED
from unwrite.terms import OVERRIDES

P = ParamSpec("P")
_FILE = click.Path(path_type=Path, dir_okay=False)
_UNUSUAL = 3  # the exit code of a release that is as declared, but unusual
_FOLDER = click.Path(path_type=Path, file_okay=False)


def _expected_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Show an expected error as one or two lines with exit code 1; a bug keeps its traceback."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with log_to_stderr(), checked_output():
                command(*args, **kwargs)
        except UnwriteError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            missing = missing_package(f"unwrite {click.get_current_context().info_name}", error)
            if not isinstance(missing, UnwriteError):
                raise
            _fail(missing)

    return wrapped


def _fail(error: UnwriteError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(1)


@click.group()
@click.version_option(package_name="unwrite")
def main() -> None:
    """Find the direction that carries one behaviour, remove it from the weights, and measure the effect.

    The pipeline itself is run by DVC: edit params.yaml, then run `dvc repro`.
    """


@main.command()
@click.option("--params", "path", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
@_expected_errors
def check(path: Path) -> None:
    """Validate params.yaml and the prompt and marker files it names, without running anything."""
    from unwrite.pipeline.check import check_params

    for note in check_params(path):
        click.echo(f"note: {note}")
    click.echo(f"{path} is valid.")


@main.command()
@_expected_errors
def summary() -> None:
    """Print the last evaluation: rates before and after with intervals, KL divergences, and where the results are."""
    from unwrite.report.tables import summary_text
    from unwrite.schema.artifacts import read_artifact
    from unwrite.schema.evaluation import Evaluation
    from unwrite.schema.params import load_params
    from unwrite.schema.paths import EVALUATION

    click.echo(summary_text(read_artifact(Evaluation, EVALUATION, "score_responses"), load_params().report.behaviour))


@main.command()
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit, for a hub id.")
@_expected_errors
def writers(model: str, revision: str | None) -> None:
    """Show which parameters of MODEL (a folder or hub id) write its residual stream.

    Needs no weights: the architecture decides, so a quantized checkpoint works too.
    """
    from unwrite.models.discovery.miniature import build_on_meta
    from unwrite.models.discovery.writers import find_writers
    from unwrite.models.loading import load_config
    from unwrite.models.source import resolve_source
    from unwrite.report.writer_table import writers_table

    config = load_config(resolve_source(model, revision, weights=False).folder, weights=False)
    discovery = find_writers(config)
    full = build_on_meta(config)
    shapes = {writer.parameter: list(full.get_parameter(writer.parameter).shape) for writer in discovery.writers}
    click.echo(writers_table(discovery, shapes))
    if discovery.incomplete:
        raise UnwriteError("\n".join(("part of this model cannot be edited exactly:", *discovery.incomplete)))


@main.command()
@click.argument("a", metavar="[REV_A]", default="HEAD")
@click.argument("b", metavar="[REV_B]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@_expected_errors
def diff(a: str, b: str | None, as_json: bool) -> None:
    """Compare directions layer by layer, and the parameters and recipes that go with them.

    REV_A (default: HEAD) and REV_B (default: the workspace) are git revisions, DVC experiments, files of directions, or
    folders that hold one, such as a release. Tensors of a revision come from DVC's cache or its remote.
    """
    from unwrite.history.diff import compare
    from unwrite.history.diff_text import comparison_text
    from unwrite.history.revisions import load_side

    comparison = compare(load_side(a), load_side(b))
    click.echo(comparison.model_dump_json(indent=2) if as_json else comparison_text(comparison))


@main.command()
@click.argument("release")
@click.option("--base", help="The base model: a folder, or a hub id (taken at the commit that the release declares).")
@click.option("--revision", help="Branch, tag or commit of RELEASE, if it is a hub id.")
@click.option("--key", type=_FILE, help="Public key (PEM) of the person who signed the release.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@_expected_errors
def verify(release: str, base: str | None, revision: str | None, key: Path | None, as_json: bool) -> None:
    """Check that RELEASE (a folder or hub id) is its base plus the declared edit, and nothing more.

    Needs only the two models: no repository and no GPU. The exit code is 1 if anything is wrong, and 3 if
    the edit is as declared, but unusual.
    """
    from unwrite.files.threads import processors
    from unwrite.models.source import resolve_release, resolve_source
    from unwrite.release.verdict import verification_text
    from unwrite.release.verify import verify_release

    folder = resolve_release(release, revision)
    against = None
    if base is not None:
        against = Path(base) if Path(base).exists() else resolve_source(base, _declared_commit(folder, base)).folder
    verdict = verify_release(folder, against, public_key=key, threads=processors())
    click.echo(verdict.model_dump_json(indent=2) if as_json else verification_text(verdict))
    sys.exit((_UNUSUAL if verdict.unusual else 0) if verdict.passed else 1)


def _declared_commit(release: Path, base: str) -> str:
    """Return the base's commit that the manifest declares; a branch may have moved since."""
    from unwrite.release.manifest import read_manifest

    commit = read_manifest(release).external.base.get("commit")
    if commit is None or re.fullmatch("[0-9a-f]{40}", commit) is None:
        raise UnwriteError(
            f"{base!r} is not a folder, and cannot be used as a hub id: the release declares no base commit. "
            "Name the folder of a base that you trust."
        )
    return commit


@main.command()
@click.argument("release", type=_FOLDER)
@_expected_errors
def explain(release: Path) -> None:
    """Explain on one page how the RELEASE in a folder was made, from which inputs, and what was measured."""
    from unwrite.release.explain import explain_release

    click.echo(explain_release(release))


@main.command()
@_expected_errors
def audit() -> None:
    """Check every artifact against dvc.lock and against the checksums that its stage recorded."""
    from unwrite.release.audit import audit_project, audit_text

    findings = audit_project()
    click.echo(audit_text(findings))
    sys.exit(1 if findings else 0)


@main.command()
@click.option("--folder", type=_FOLDER, help="Write the release into this folder.")
@click.option("--repository", metavar="ORG/NAME", help="Upload it to this repository of the hub.")
@click.option("--private", is_flag=True, help="Keep the repository private.")
@click.option("--sign", type=_FILE, metavar="KEY", help="Sign it with this private key (PEM, elliptic curve).")
@click.option("--notes", type=_FILE, help="Your own Markdown, added at the end of the card.")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(OVERRIDES),
    help="Publish despite this problem; the manifest records it. Can be given several times.",
)
@_expected_errors
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


if __name__ == "__main__":
    main()
