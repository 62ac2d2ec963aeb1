"""Secrets by reference: a pipeline or a command line says where a secret lies, never what it is.

A reference is ``env:NAME`` (the environment), ``file:PATH`` or just a path, or ``systemd:NAME`` (also ``credential:NAME``; what
systemd hands to a service with ``LoadCredential=``, in the folder ``$CREDENTIALS_DIRECTORY``).
"""

import os
import stat
from pathlib import Path

from flowedge.lang.errors import SecretError

_LONGEST = 1 << 16


def resolve(reference: str) -> bytes:
    """What a reference stands for; the secret itself is in no message.

    Raises
    ------
    SecretError : there is nothing, or others than its owner may read the file
    """
    kind, colon, rest = reference.partition(":")
    if colon and kind == "env":
        value = os.environ.get(rest)
        if not value:
            raise SecretError(f"the environment has no `{rest}`; set it, or give another reference")
        return value.encode("utf-8", "surrogateescape")
    if colon and kind in ("systemd", "credential"):
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise SecretError(
                f"there are no credentials for `{rest}`: systemd sets CREDENTIALS_DIRECTORY for a service with `LoadCredential=`"
            )
        if "/" in rest or rest in ("", ".", ".."):
            raise SecretError(f"`{rest}` is no name of a credential")
        return _read(Path(folder) / rest, is_guarded=True)
    return _read(Path(rest if colon and kind == "file" else reference), is_guarded=False)


def _read(path: Path, *, is_guarded: bool) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & 0o077 and not is_guarded:
            raise SecretError(
                f"`{path}` can be read by others than its owner; forbid it with `chmod 600 {path}`"
            )
        with path.open("rb") as file:
            data = file.read(_LONGEST)
    except OSError as error:
        raise SecretError(f"cannot read the secret in `{path}`: {error.strerror}") from None
    if not data:
        raise SecretError(f"the secret in `{path}` is empty")
    return data
