"""Outputs pushed to an S3 remote and pulled back: the same bytes, and `verify` refuses a corrupted object."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
import torch
from dvc.repo import Repo
from moto.server import ThreadedMotoServer

from tests.support.workspace import ENVIRONMENT
from unwrite.files.hashing import sha256_of
from unwrite.files.tensors import write_tensors

BUCKET = "remote-of-test-remote"
DIRECTIONS = Path("artifacts/directions.safetensors")
TOKENS = Path("artifacts/tokens")
PIPELINE = f"""stages:
  compute_directions:
    cmd: python -m unwrite.stages.compute_directions
    outs:
      - {DIRECTIONS}
      - {TOKENS}
"""
CREDENTIALS = {  # for subprocesses only: this process keeps its environment
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an empty bucket on a local S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()
    server.stop()


@pytest.fixture(scope="module")
def pushed(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has pushed a directions file and a folder of tokens."""
    folder = tmp_path_factory.mktemp("project")
    Repo.init(folder, no_scm=True).close()
    remote = f"url = s3://{BUCKET}/path\n    endpointurl = {s3.meta.endpoint_url}\n    verify = true"
    (folder / ".dvc/config").write_text(
        f"[core]\n    no_scm = true\n    analytics = false\n    remote = store\n['remote \"store\"']\n    {remote}\n"
    )
    (folder / "dvc.yaml").write_text(PIPELINE)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(1, 7, 192, generator=generator) for name in ("directions", "target_mean", "baseline_mean")
    }
    write_tensors(folder / DIRECTIONS, tensors, {"center": "mean"})
    (folder / TOKENS).mkdir()
    for name in ("target", "baseline"):
        (folder / TOKENS / f"{name}.train.jsonl").write_text(f'{{"prompt": "{name}", "ids": [1, 2, 3]}}\n')
    with Repo(folder) as repo:
        repo.commit(force=True)
    assert "4 files pushed" in dvc(folder, "push")  # one is the folder's listing
    return folder


@pytest.fixture
def project(pushed: Path, tmp_path: Path) -> Path:
    """A clone of that project: no cache, no outputs."""
    for name in (".dvc/config", "dvc.yaml", "dvc.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(pushed / name, tmp_path / name)
    assert not digests(tmp_path)
    return tmp_path


@pytest.fixture
def corrupted(pushed: Path, s3: Any) -> Iterator[bytes]:
    """The directions with one bit flipped, which the remote now holds."""
    md5 = hashlib.md5((pushed / DIRECTIONS).read_bytes()).hexdigest()
    place = {"Bucket": BUCKET, "Key": f"path/files/md5/{md5[:2]}/{md5[2:]}"}
    data = s3.get_object(**place)["Body"].read()
    assert data == (pushed / DIRECTIONS).read_bytes()
    damaged = bytes([*data[:-1], data[-1] ^ 1])
    s3.put_object(**place, Body=damaged)
    yield damaged
    s3.put_object(**place, Body=data)


def dvc(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Run dvc and return what it printed, stdout and stderr together."""
    done = subprocess.run(
        ["dvc", *arguments],
        cwd=folder,
        env=ENVIRONMENT | CREDENTIALS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every artifact present."""
    files = (path for path in (folder / "artifacts").rglob("*") if path.is_file() and path.name != ".gitignore")
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def test_pulled_files_are_the_pushed_ones(pushed: Path, project: Path) -> None:
    dvc(project, "pull")
    assert digests(project) == digests(pushed)
    assert len(digests(pushed)) == 3


def test_verify_refuses_a_corrupted_object(pushed: Path, project: Path, corrupted: bytes) -> None:
    assert str(DIRECTIONS) in dvc(project, "pull", expect=1)
    whole = digests(pushed)
    del whole[str(DIRECTIONS)]
    assert digests(project) == whole  # the rest was pulled
    kept = [path.read_bytes() for path in (project / ".dvc/cache/files").rglob("*") if path.is_file()]
    assert kept
    assert corrupted not in kept


def test_without_verify_a_corrupted_object_is_accepted_and_reported_clean(
    pushed: Path, project: Path, corrupted: bytes
) -> None:
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("verify = true", "verify = false"))
    dvc(project, "pull")
    assert (project / DIRECTIONS).read_bytes() == corrupted
    assert digests(project) != digests(pushed)
    assert "up to date" in dvc(project, "status")
