"""The state of a run on disk, so that it goes on where it was killed and gives the same files.

A checkpoint is a file of its own: the snapshot of the session, the position of each source, and how
many rows each output had. Output rows are kept as Arrow streams beside it, one for each output and
checkpoint, and become the output files at the end, all at once and through the same sinks; so a
reader never sees part of an output, and the bytes do not depend on where a run was killed. All that
a checkpoint speaks of is synced to the disk before it is (write, fsync, rename, fsync of the
directory; Pillai et al., "All file systems are not created equal", OSDI 2014). The last three are
kept; a damaged one is passed over for the one before.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from flowedge.lang.errors import CheckpointError, SinkError, StateHeldError
from flowedge.session.snapshot import seal, unseal
from flowedge.sinks.atomic import AtomicFile, explained, sync_directory

FORMAT = 1
KEPT = 3
"""Checkpoints that are kept."""
_NAME = re.compile(r"checkpoint-(\d{8})\.flowstate\Z")


@dataclass
class Saved:
    """What a checkpoint says.

    Attributes
    ----------
    epoch : its number, from 1
    pipeline : digest of the program
    inputs : for each source, what its files looked like: (path, bytes, time of the last change [ns])
    session : the snapshot of the session
    sources : for each source, (file, row) behind the last row taken, rows pushed, and whether it ended
    report : the counts of the report
    is_finished : all rows are there; only the output files may be missing
    """

    epoch: int
    pipeline: str
    inputs: dict[str, list[list[Any]]]
    session: bytes
    sources: dict[str, dict[str, Any]]
    report: dict[str, Any]
    is_finished: bool = False


@dataclass
class State:
    """The directory of a run's state; one run holds it at a time.

    Parameters
    ----------
    root : the directory, made where it is missing

    Raises
    ------
    StateHeldError
        another run holds it
    SinkError
        it cannot be made or written
    """

    root: Path
    _lock: IO[str] | None = None
    _open: dict[str, tuple[AtomicFile, Any]] = field(default_factory=dict)
    _places: dict[str, Path] = field(default_factory=dict)
    epoch: int = 0

    def __post_init__(self) -> None:
        """Take hold of the directory."""
        if self.root.exists() and not self.root.is_dir():
            raise SinkError(f"`{self.root}` is a file; give a directory for the state")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock = (self.root / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise explained(self.root, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "another process"
            self._lock.close()
            raise StateHeldError(
                f"the state in `{self.root}` is held by {holder}; wait for that run, or give another directory"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()}\n")
        self._lock.flush()

    # ---- going on

    def newest(self) -> Saved | None:
        """The newest checkpoint that is whole; rows of later ones are removed. None for a fresh start.

        Raises
        ------
        CheckpointError
            there are checkpoints, but none that can be read
        """
        found = self._checkpoints()
        problem = ""
        for epoch, path in reversed(found):
            try:
                kept = unseal(path.read_bytes())
                if kept.pop("format", None) != FORMAT:
                    raise CheckpointError("it was made by another version of FlowEdge")
                saved = Saved(**kept)
            except (CheckpointError, OSError, TypeError) as error:
                problem = str(error)
                continue
            self.epoch = epoch
            self._forget_rows(after=epoch)
            return saved
        if found:
            raise CheckpointError(
                f"no checkpoint in `{self.root}` can be read ({problem}); remove the directory to start afresh"
            )
        self._forget_rows(after=0)
        return None

    # ---- keeping rows

    def keep(self, output: str, batch: pa.RecordBatch) -> None:
        """Add rows of an output to those of the checkpoint to come."""
        if output not in self._open:
            path = self._folder(output) / f"{self.epoch + 1:08d}.arrow"
            file = AtomicFile(path)
            self._open[output] = (file, pa.ipc.new_stream(file, batch.schema))
        self._open[output][1].write_batch(batch)

    def rows(self, output: str) -> Iterator[pa.RecordBatch]:
        """All rows of an output that checkpoints speak of, in order."""
        for path in sorted(self._folder(output).glob("*.arrow")):
            if int(path.stem) <= self.epoch:
                with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
                    yield from stream

    def save(self, saved: Saved) -> None:
        """Make a checkpoint last: first the rows that it speaks of, then itself.

        Raises
        ------
        SinkError
            the disk is full or has failed; the checkpoint before stays
        """
        folders = set()
        for file, writer in self._open.values():
            writer.close()
            file.finish()
            file.publish()
            folders.add(file.path.parent)
        self._open.clear()
        for folder in folders:
            sync_directory(folder)
        file = AtomicFile(self.root / f"checkpoint-{saved.epoch:08d}.flowstate")
        try:
            file.write(seal({"format": FORMAT, **vars(saved)}))
            file.finish()
            file.publish()
        except SinkError:
            file.discard()
            raise
        sync_directory(self.root)
        self.epoch = saved.epoch
        for _, path in self._checkpoints()[:-KEPT]:
            path.unlink(missing_ok=True)

    # ---- the end

    def clear(self) -> None:
        """The outputs are complete: forget all, so that the next run starts afresh.

        Checkpoints go first, the last one at the end: killed in between, the outputs are made again.
        """
        for _, path in self._checkpoints():
            path.unlink(missing_ok=True)
        sync_directory(self.root)
        self._forget_rows(after=0)

    def close(self) -> None:
        """Let go of the directory; rows behind the last checkpoint are removed."""
        for file, _ in self._open.values():
            file.discard()
        self._open.clear()
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    # ---- parts

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """(epoch, path), oldest first."""
        found = ((_NAME.match(path.name), path) for path in self.root.iterdir())
        return sorted((int(name.group(1)), path) for name, path in found if name)

    def _folder(self, output: str) -> Path:
        """Where the rows of an output are kept: a name may hold what a path may not."""
        if output not in self._places:
            safe = "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):x}" for c in output)
            self._places[output] = self.root / "rows" / safe.replace("..", "%2e%2e")
        return self._places[output]

    def _forget_rows(self, *, after: int) -> None:
        rows = self.root / "rows"
        if not rows.is_dir():
            return
        try:
            if after == 0:
                shutil.rmtree(rows)
                return
            for path in rows.glob("*/*"):
                if not path.name.endswith(".arrow") or int(path.stem) > after:
                    path.unlink()
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot clean `{rows}`: {error}") from None


def seen(paths: list[str]) -> list[list[Any]]:
    """What files look like: path, size, time of the last change."""
    out: list[list[Any]] = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = Path(path).stat()
            out.append([str(path), stat.st_size, stat.st_mtime_ns])
    return out


def compare(saved: Saved, pipeline: str, inputs: dict[str, list[list[Any]]], root: Path) -> None:
    """Refuse a checkpoint that this run cannot go on from.

    Raises
    ------
    CheckpointError
        the pipeline is another one, or a file has changed since
    """
    way_out = f"run that one, or start afresh: remove `{root}`"
    if saved.pipeline != pipeline:
        raise CheckpointError(
            f"the checkpoint in `{root}` was made by another pipeline, or with other parameters; {way_out}"
        )
    for name, files in inputs.items():
        before = [list(x) for x in saved.inputs.get(name, [])]
        if before != files:
            changed = next((f[0] for f in files if f not in before), "its files")
            raise CheckpointError(
                f"`{name}` has changed since the checkpoint in `{root}`: {changed}; {way_out}"
            )
