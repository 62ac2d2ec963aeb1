"""Text files, packed if their name says so."""

import gzip
from pathlib import Path
from typing import BinaryIO, cast

from flowedge.sinks.atomic import AtomicFile


def is_packed(path: str | Path) -> bool:
    """Whether the name says so."""
    return str(path).endswith(".gz")


def text_file(file: AtomicFile) -> tuple[BinaryIO, bool]:
    """What to write text into, and whether it must be closed: a gzip stream for ``.gz``.

    It carries no time of day, so that the same rows give the same bytes.
    """
    plain = cast("BinaryIO", file)
    if not is_packed(file.path):
        return plain, False
    return cast("BinaryIO", gzip.GzipFile("", "wb", 6, plain, mtime=0)), True
