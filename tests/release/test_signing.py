"""A signature is valid for the files and the key it was made with, and for nothing else."""

import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.keys import key_pair
from unwrite.errors import UnwriteError
from unwrite.release.signing import SIGNATURE, sign_release, wrong_signature


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def test_signed_release_passes_with_its_public_key(release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    assert wrong_signature(release, public) == f"{SIGNATURE} is missing"
    sign_release(release, private)
    assert wrong_signature(release, public) is None
    assert wrong_signature(release.rename(tmp_path / "downloaded"), public) is None


def test_another_key_or_any_change_fails(release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    _, other = key_pair(tmp_path, "theirs")
    sign_release(release, private)
    assert wrong_signature(release, other) is not None
    (release / "config.json").write_text("{ }")
    changed = wrong_signature(release, public)
    assert changed is not None
    assert "config.json" in changed
    (release / "config.json").write_text("{}")
    assert wrong_signature(release, public) is None
    (release / "extra.py").write_text("")
    assert "extra.py" in (wrong_signature(release, public) or "")


def test_what_a_tool_left_is_ignored_only_if_asked(release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    sign_release(release, private)
    (release / ".cache/huggingface").mkdir(parents=True)
    (release / ".cache/huggingface/CACHEDIR.TAG").write_text("")
    assert "CACHEDIR.TAG" in (wrong_signature(release, public) or "")
    assert wrong_signature(release, public, {".cache"}) is None
    (release / "config.json").write_text("{ }")
    assert "config.json" in (wrong_signature(release, public, {".cache"}) or "")


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff\xfe"])
def test_damaged_signature_fails(damage: bytes, release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    sign_release(release, private)
    (release / SIGNATURE).write_bytes(damage)
    assert wrong_signature(release, public) is not None


def test_unusable_key_is_refused_before_signing(release: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "rsa.pem"
    wrong.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for path in (wrong, text):
        with pytest.raises(UnwriteError, match=r"must be the private key (?s:.)*\nTo make a pair: openssl"):
            sign_release(release, path)
    with pytest.raises(UnwriteError, match=r"The private key .*nowhere\.pem cannot be read: No such file"):
        sign_release(release, tmp_path / "nowhere.pem")
    with pytest.raises(UnwriteError, match=r"must be the public key (?s:.)*\nAsk for the public key"):
        wrong_signature(release, text)
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe)
    for use in (sign_release, wrong_signature):
        with pytest.raises(UnwriteError, match=r"pipe\.pem is a pipe, not a file"):
            use(release, pipe)
    assert not (release / SIGNATURE).exists()


def test_missing_optional_packages_are_named(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UnwriteError, match=r"pip install 'unwrite\[signing\]'"):
        sign_release(release, tmp_path / "key.pem")
