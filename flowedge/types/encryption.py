"""Encryption of what is stored: Parquet modular encryption, and frames of rows.

Parquet: the uniform mode of the Parquet Modular Encryption specification with AES_GCM_V1, which encrypts and
authenticates every page of every column and the footer. Rows of a log: AES-256-GCM (NIST SP 800-38D) with a
random nonce, under a key derived by HKDF-SHA256 (RFC 5869).
"""

import base64
import binascii
import os
from typing import Any

from flowedge.lang.errors import SecretError
from flowedge.types.secrets import resolve

_FOOTER_KEY = "flowedge"
_NONCE = 12


def encryption_key(reference: str) -> bytes:
    """The 32 bytes that a reference stands for: as they are, in hexadecimal, or in base64.

    Raises
    ------
    SecretError : it is no key of 256 bits
    """
    data = resolve(reference)
    if len(data) == 32:
        return data
    text = data.strip()
    for decode in (binascii.unhexlify, lambda t: base64.b64decode(t, validate=True)):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == 32:
            return key
    raise SecretError(
        f"`{reference}` holds no key of 256 bits; make one with `flowedge key new NAME --encryption`"
    )


def parquet_encryption(key: bytes) -> Any:  # noqa: ANN401  # pyarrow has no types
    """What `pyarrow.parquet.ParquetWriter` takes as ``encryption_properties``."""
    import pyarrow.parquet.encryption as pe  # noqa: PLC0415  # only those who ask

    wanted = pe.EncryptionConfiguration(
        _FOOTER_KEY, uniform_encryption=True, encryption_algorithm="AES_GCM_V1", double_wrapping=False,
        data_key_length_bits=256,
    )  # fmt: skip
    return _factory(key).file_encryption_properties(pe.KmsConnectionConfig(), wanted)


def parquet_decryption(key: bytes) -> Any:  # noqa: ANN401  # pyarrow has no types
    """What `pyarrow.parquet.ParquetFile` takes as ``decryption_properties``."""
    import pyarrow.parquet.encryption as pe  # noqa: PLC0415

    return _factory(key).file_decryption_properties(pe.KmsConnectionConfig())


def _factory(key: bytes) -> Any:  # noqa: ANN401
    import pyarrow.parquet.encryption as pe  # noqa: PLC0415

    cipher = Cipher(key, "parquet keys")

    class Wrapper(pe.KmsClient):  # type: ignore[misc]
        """Each file has a key of its own, which is kept in it, wrapped with ours."""

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return base64.b64encode(cipher.seal(key_bytes, _bytes(master_key_identifier)))

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            try:
                wrapped = base64.b64decode(wrapped_key, validate=True)
            except ValueError:
                wrapped = b""
            return cipher.open(wrapped, _bytes(master_key_identifier))

    return pe.CryptoFactory(lambda _: Wrapper())


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class Cipher:
    """Bytes that only the holder of the key can read or make.

    Parameters
    ----------
    key : 32 bytes
    purpose : derives a key of its own, so that no key is used for two things

    Raises
    ------
    SecretError : the extra `secure` is not installed
    """

    def __init__(self, key: bytes, purpose: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
        except ImportError:
            raise SecretError(
                "encryption needs the extra `secure`: pip install 'flowedge[secure]'"
            ) from None
        self._aead = AESGCM(derived(key, purpose))

    def seal(self, data: bytes, bound: bytes) -> bytes:
        """Encrypt; `bound` is not kept, and must be the same at `open`."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, data, bound)

    def open(self, data: bytes, bound: bytes) -> bytes:
        """Decrypt; raises SecretError where the key is another one, or a byte has changed."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        try:
            return self._aead.decrypt(data[:_NONCE], data[_NONCE:], bound)
        except (InvalidTag, ValueError):
            raise SecretError("the key does not fit, or the bytes have been changed") from None


def derived(key: bytes, purpose: str) -> bytes:
    """A key of 256 bits for one purpose (HKDF-SHA256, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(SHA256(), 32, None, f"flowedge {purpose}".encode()).derive(key)
