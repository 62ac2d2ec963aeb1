"""Keys that sign: outputs, pipelines and models with Ed25519 (RFC 8032), checkpoints with a key derived from it."""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowedge.lang.errors import DigestError, RunError, SecretError
from flowedge.sinks.atomic import explained, replace
from flowedge.types.encryption import derived
from flowedge.types.secrets import resolve

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SUFFIX = ".sig"
"""A signature lies beside its file, under the file's name and this."""


@dataclass(frozen=True)
class SigningKey:
    """A private key. What it is stands in no text that it gives."""

    _key: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def of(cls, reference: str) -> "SigningKey":
        """The key that a reference stands for (see `flowedge.types.secrets`).

        Raises
        ------
        SecretError : it is no private key, or the extra `secure` is missing
        """
        _need()
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )

        data = resolve(reference)
        try:
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise SecretError(
                f"`{reference}` holds no private key (PEM, Ed25519); make one with `flowedge key new NAME`"
            )
        return cls(key)

    @property
    def public(self) -> "PublicKey":
        """What others check with."""
        return PublicKey(self._key.public_key())

    def sign(self, message: bytes) -> dict[str, str]:
        """The signature of a message, with the name of the key."""
        signature = base64.b64encode(self._key.sign(message)).decode()
        return {"key": self.public.name, "ed25519": signature}

    def checkpoint_key(self) -> bytes:
        """32 bytes that authenticate checkpoints."""
        return derived(self._key.private_bytes_raw(), "checkpoints")


@dataclass(frozen=True)
class PublicKey:
    """A public key; its name is its 32 bytes in base64."""

    _key: "Ed25519PublicKey" = field(repr=False)

    @classmethod
    def of(cls, path: str) -> "PublicKey":
        """The key in a PEM file, or one by its name.

        Raises
        ------
        SecretError : it is no public key, or the extra `secure` is missing
        """
        _need()
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_public_key,
        )

        try:
            raw = base64.b64decode(path, validate=True)
        except ValueError:
            raw = b""
        if len(raw) == 32:
            return cls(ed25519.Ed25519PublicKey.from_public_bytes(raw))
        try:
            key = load_pem_public_key(Path(path).read_bytes())
        except OSError as error:
            raise SecretError(f"cannot read the key `{path}`: {error.strerror}") from None
        except ValueError:
            key = None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise SecretError(
                f"`{path}` is no public key (PEM, Ed25519); `flowedge key new NAME` writes one to NAME.pub"
            )
        return cls(key)

    @property
    def name(self) -> str:
        """Its 32 bytes in base64."""
        return base64.b64encode(self._key.public_bytes_raw()).decode()

    def is_of(self, signature: Any, message: bytes) -> bool:  # noqa: ANN401  # whatever a file holds
        """Whether the signature of a message was made with the private key."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        try:
            self._key.verify(base64.b64decode(signature["ed25519"], validate=True), message)
        except (InvalidSignature, ValueError, KeyError, TypeError):
            return False
        return True


def new_signing_key(path: Path) -> str:
    """Write a new private key to `path` and its public key to ``path.pub``; the public key's name.

    Raises
    ------
    RunError : a file is there already
    SinkError : it cannot be written
    """
    _need()
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    shown = path.with_name(path.name + ".pub")
    if shown.exists():
        raise RunError(f"`{shown}` is there already; a key is not written over")
    write_secret(path, private)
    replace(shown, public)
    return PublicKey(key.public_key()).name


def new_encryption_key(path: Path) -> None:
    """Write 256 random bits to `path`, in base64; raises RunError, SinkError."""
    write_secret(path, base64.b64encode(os.urandom(32)) + b"\n")


def write_secret(path: Path, data: bytes) -> None:
    """A file that only its owner may read, and that was not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise RunError(f"`{path}` is there already; a key is not written over") from None
    except OSError as error:
        raise explained(path, error) from None


def sign_file(path: Path, key: SigningKey) -> Path:
    """Sign a file; the signature lies beside it. Raises RunError, SinkError."""
    digest = _digest(path)
    signature = {"sha256": digest, **key.sign(_message(digest))}
    beside = path.with_name(path.name + SUFFIX)
    replace(beside, (json.dumps(signature, indent=2) + "\n").encode())
    return beside


def check_signed(path: Path, key: PublicKey, digest: str | None = None) -> None:
    """Refuse a file without a signature that was made with the key; `digest`: of the bytes that were read of it.

    Raises
    ------
    DigestError : there is no signature, it is of another key, or the file has been changed
    """
    beside = path.with_name(path.name + SUFFIX)
    way_out = f"sign it with `flowedge key sign {path} --key KEY`"
    try:
        signature = json.loads(beside.read_text("utf-8"))
    except (OSError, ValueError):
        raise DigestError(f"`{path}` is not signed: there is no `{beside}`; {way_out}") from None
    if not isinstance(signature, dict) or signature.get("key") != key.name:
        raise DigestError(f"`{path}` is signed with another key than is asked for; {way_out}")
    if not key.is_of(signature, _message(digest or _digest(path))):
        raise DigestError(f"`{path}` has been changed since it was signed; {way_out}")


def _message(digest: str) -> bytes:
    return f"flowedge file {digest}".encode()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"cannot read `{path}`: {error.strerror}") from None


def _need() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415
    except ImportError:
        raise SecretError("keys need the extra `secure`: pip install 'flowedge[secure]'") from None
