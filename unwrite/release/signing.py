"""Signatures of a release: OpenSSF model signing with an elliptic-curve key, in `model.sig` next to the files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from unwrite.errors import UnwriteError, missing_package, reason_of
from unwrite.schema.text import refuse_endless

SIGNATURE = "model.sig"
_PAIR = (
    "To make a pair: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; "
    "openssl ec -in key.pem -pubout -out key.pub"
)
_ASK = "Ask for the public key of the person who signed the release."


def sign_release(folder: Path, private_key: Path) -> None:
    """Sign every file of a release.

    Args:
        folder: the release; it must not change afterwards.
        private_key: PEM file of an elliptic-curve key without a password.

    Raises:
        UnwriteError: the key cannot be read, is a pipe or of another kind, or the optional packages are not installed.
    """
    refuse_endless(private_key)
    hashing, signing, _ = _library()
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _unusable_key(private_key, "private", error, _PAIR) from None
    # The signature records the ignored paths, so verifying leaves out the same files.
    ignored = hashing.Config().set_ignored_paths(paths=[Path(SIGNATURE)], ignore_git_paths=True)
    config.set_hashing_config(ignored).sign(folder, folder / SIGNATURE)


def wrong_signature(folder: Path, public_key: Path, ignored: Collection[str] = ()) -> str | None:
    """Return what is wrong with the signature of a release; None if this key signed these files.

    Args:
        folder: the release.
        public_key: PEM file of the public key.
        ignored: entries of the folder that git or a download tool left; those that were signed as ignored are too.

    Raises:
        UnwriteError: the key cannot be read, is a pipe or of another kind, or the optional packages are not installed.
    """
    refuse_endless(public_key)
    hashing, _, verifying = _library()
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _unusable_key(public_key, "public", error, _ASK) from None
    if not (folder / SIGNATURE).is_file():
        return f"{SIGNATURE} is missing"
    try:
        # The hub's cache keeps links to its files.
        left = hashing.Config().set_allow_symlinks(True).set_ignored_paths(paths=ignored, ignore_git_paths=True)
        config.set_hashing_config(left).verify(folder, folder / SIGNATURE)
    except Exception as error:  # a stranger's signature can make the library raise anything: it is not valid
        return reason_of(error)
    return None


def _unusable_key(path: Path, kind: str, error: Exception, remedy: str) -> UnwriteError:
    if isinstance(error, OSError):
        return UnwriteError(f"The {kind} key {path} cannot be read: {error.strerror}.\n{remedy}")
    return UnwriteError(
        f"{path} must be the {kind} key of an elliptic curve, a PEM file without a password ({reason_of(error)}).\n"
        f"{remedy}"
    )


def _library() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from model_signing import hashing, signing, verifying
    except ModuleNotFoundError as error:
        raise missing_package("A signature", error) from None
    return hashing, signing, verifying
