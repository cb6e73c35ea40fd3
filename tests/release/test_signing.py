"""A signature holds for the files and the key it was made with, and for nothing else."""

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from unwrite.errors import UnwriteError
from unwrite.release.signing import SIGNATURE, check_signature, sign_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    encoding, secret = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(encoding, secret, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_signed_release_checks_out_with_the_public_key(release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    assert check_signature(release, public) == f"there is no {SIGNATURE}"
    sign_release(release, private)
    assert check_signature(release, public) is None
    assert check_signature(release.rename(tmp_path / "downloaded"), public) is None


def test_it_fails_with_another_key_and_after_any_change(release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    _, other = key_pair(tmp_path, "theirs")
    sign_release(release, private)
    assert check_signature(release, other) is not None
    (release / "config.json").write_text("{ }")
    changed = check_signature(release, public)
    assert changed is not None
    assert "config.json" in changed
    (release / "config.json").write_text("{}")
    assert check_signature(release, public) is None
    (release / "extra.py").write_text("")
    assert "extra.py" in (check_signature(release, public) or "")


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff\xfe"])
def test_a_damaged_signature_is_no_signature(damage: bytes, release: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "ours")
    sign_release(release, private)
    (release / SIGNATURE).write_bytes(damage)
    assert check_signature(release, public) is not None


def test_what_is_no_key_is_refused_before_anything_is_signed(release: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "rsa.pem"
    wrong.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for path in (wrong, text):
        with pytest.raises(UnwriteError, match=r"is not the private key (?s:.)*\nTo make a pair: openssl"):
            sign_release(release, path)
    with pytest.raises(UnwriteError, match=r"nowhere\.pem, the private key, can't be read: No such file"):
        sign_release(release, tmp_path / "nowhere.pem")
    with pytest.raises(UnwriteError, match=r"is not the public key (?s:.)*\nAsk whoever signed"):
        check_signature(release, text)
    assert not (release / SIGNATURE).exists()


def test_without_the_optional_packages_it_says_what_to_install(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UnwriteError, match=r"pip install 'unwrite\[signing\]'"):
        sign_release(release, tmp_path / "key.pem")
