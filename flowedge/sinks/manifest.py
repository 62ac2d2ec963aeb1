"""Which files in a directory are ours, so that a new run replaces them and no others."""

import os
from collections.abc import Sequence
from pathlib import Path

from flowedge.sinks.atomic import AtomicFile, explained, sync_directory

NAME = ".flowedge-files"


class Manifest:
    """A list of the files that runs have written into a directory, one relative path a line.

    It is a hidden file, which tools that read directories of Parquet pass over.

    Parameters
    ----------
    directory : where it lies; it need not exist yet
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._before = self._read()
        self._listed = set(self._before)

    def announce(self, paths: Sequence[Path]) -> None:
        """Files that are about to become visible.

        Raises
        ------
        SinkError : the list cannot be written
        """
        new = {self._relative(p) for p in paths} - self._listed
        if new:
            self._listed |= new
            self._write(self._listed)

    def settle(self, paths: Sequence[Path]) -> None:
        """The run is complete: remove what earlier runs wrote and this one did not.

        Raises
        ------
        SinkError : a file of the earlier run cannot be removed
        """
        now = {self._relative(p) for p in paths}
        for name in sorted(self._before - now):
            path = self.directory / name
            try:
                path.unlink(missing_ok=True)
                if path.parent != self.directory and not any(path.parent.iterdir()):
                    path.parent.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise explained(path, error) from None
        self._listed = now
        self._write(now)

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self.directory)

    def _read(self) -> set[str]:
        """The list; a name that leads out of the directory is none of ours."""
        try:
            text = (self.directory / NAME).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return set()
        return {n for n in text.splitlines() if n and ".." not in Path(n).parts and n[0] != "/"}

    def _write(self, names: set[str]) -> None:
        file = AtomicFile(self.directory / NAME)
        file.write(
            "".join(f"{name}\n" for name in sorted(names)).encode("utf-8", "surrogateescape")
        )
        file.finish()
        file.publish()
        sync_directory(self.directory)
