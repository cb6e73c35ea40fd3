"""Signatures of a release: OpenSSF model signing with an elliptic-curve key, in `model.sig` beside the files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from unwrite.errors import UnwriteError, reason_of

SIGNATURE = "model.sig"
_PAIR = (
    "To make a pair: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; "
    "openssl ec -in key.pem -pubout -out key.pub"
)


def sign_release(folder: Path, private_key: Path) -> None:
    """Signs every file of a release.

    Args:
        folder: The release. It must not change afterwards.
        private_key: A PEM file of an elliptic-curve key without a password.

    Raises:
        UnwriteError: The key can't be read or is of another kind, or the optional packages are not installed.
    """
    hashing, signing, _ = _library()
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_key(private_key, "private", error, _PAIR) from None
    # Said in the signature, so that whoever verifies it leaves the file out too.
    ignored = hashing.Config().set_ignored_paths(paths=[Path(SIGNATURE)], ignore_git_paths=True)
    config.set_hashing_config(ignored).sign(folder, folder / SIGNATURE)


def check_signature(folder: Path, public_key: Path) -> str | None:
    """What is wrong with the signature of a release; None if it is that of this key over these files.

    Raises:
        UnwriteError: The key can't be read or is of another kind, or the optional packages are not installed.
    """
    hashing, _, verifying = _library()
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_key(public_key, "public", error, "Ask whoever signed the release for it.") from None
    if not (folder / SIGNATURE).is_file():
        return f"there is no {SIGNATURE}"
    try:
        # The hub's cache keeps links to its files.
        config.set_hashing_config(hashing.Config().set_allow_symlinks(True)).verify(folder, folder / SIGNATURE)
    except Exception as error:  # whatever a signature made by others brings the library to: it is not valid
        return reason_of(error)
    return None


def _no_key(path: Path, kind: str, error: Exception, remedy: str) -> UnwriteError:
    if isinstance(error, OSError):
        return UnwriteError(f"{path}, the {kind} key, can't be read: {error.strerror}.\n{remedy}")
    return UnwriteError(
        f"{path} is not the {kind} key of an elliptic curve, as a PEM file without a password ({reason_of(error)}).\n"
        f"{remedy}"
    )


def _library() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError:
        raise UnwriteError("Signatures need the optional packages: pip install 'unwrite[signing]'.") from None
    return hashing, signing, verifying
