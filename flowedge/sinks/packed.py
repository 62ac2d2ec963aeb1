"""Text files, packed if their name says so."""

import gzip
from typing import BinaryIO, cast

from flowedge.sinks.atomic import AtomicFile


def text_file(file: AtomicFile) -> tuple[BinaryIO, bool]:
    """What to write text into, and whether it must be closed: a gzip stream for ``.gz``.

    It carries no time of day, so that the same rows give the same bytes.
    """
    plain = cast("BinaryIO", file)
    if file.path.suffix != ".gz":
        return plain, False
    return cast("BinaryIO", gzip.GzipFile("", "wb", 6, plain, mtime=0)), True
