"""What tells that a file holds the bytes that were written: a digest, and the algorithm that made it.

New files are told by BLAKE3 (O'Connor, Aumasson, Neves and Wilcox-O'Hearn, 2020), which is as hard to forge as SHA-256 and hashes
several pieces of 1,024 bytes side by side in vectors. Files of versions before are told by SHA-256, and verified as ever.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3

NEWEST = "blake3"
"""Tells the files that are begun now."""


class Hasher(Protocol):
    """A digest in the making."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take the bytes that come next."""

    def copy(self) -> "Hasher":
        """Another that has taken the same bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in hexadecimal."""


ALGORITHMS: dict[str, Callable[[], Hasher]] = {NEWEST: blake3, "sha256": hashlib.sha256}
"""By the name that lists and checkpoints have; one thread each."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest in hexadecimal, and the algorithm that made it, a key of `ALGORITHMS`."""

    algorithm: str
    hexadecimal: str

    @property
    def text(self) -> str:
        """Both as one word; one by SHA-256 stands alone, as it did when there was no other."""
        return f"{self.algorithm}:{self.hexadecimal}" if self.algorithm != "sha256" else self.hexadecimal  # fmt: skip

    @classmethod
    def of(cls, text: str) -> "Digest":
        """The inverse of `text`."""
        algorithm, colon, hexadecimal = text.partition(":")
        return cls(algorithm, hexadecimal) if colon else cls("sha256", text)

    @property
    def entry(self) -> dict[str, str]:
        """As it is kept beside other facts of a file: under the name of the algorithm."""
        return {self.algorithm: self.hexadecimal}

    @classmethod
    def taken(cls, told: Mapping[str, Any]) -> tuple["Digest", dict[str, Any]]:
        """The digest among the facts of a file, and all other facts.

        Raises
        ------
        TypeError : there is none, there are several, or it is no text
        """
        algorithms = [name for name in ALGORITHMS if name in told]
        if len(algorithms) != 1 or not isinstance(told[algorithms[0]], str):
            raise TypeError("a file is told by one digest")
        rest = {key: value for key, value in told.items() if key != algorithms[0]}
        return cls(algorithms[0], told[algorithms[0]]), rest


def of_file(path: Path, algorithm: str) -> Digest:
    """The digest of a file as it is now; raises OSError."""
    with path.open("rb") as file:
        hasher = hashlib.file_digest(file, ALGORITHMS[algorithm])  # type: ignore[arg-type]  # asks for `update` alone
    return Digest(algorithm, hasher.hexdigest())
