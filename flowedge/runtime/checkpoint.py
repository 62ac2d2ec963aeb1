"""The state of a run on disk, so that it goes on where it was killed and gives the same files.

A checkpoint is one file: the state of the session, the position of each source, how far each output is,
and the files that are complete and not shown yet. The order on the disk is what makes it exact (two-phase
commit with the checkpoint as the decision; Pillai et al., "All file systems are not created equal", OSDI
2014, for what has to be synced):

1. rows and complete files are synced, the files under temporary names, then the names;
2. the checkpoint is written beside, synced, renamed, its directory synced: from here on it counts;
3. the complete files are listed, renamed to their own names, and the names synced;
4. checkpoints before the last three, and rows that only they needed, are removed;
5. the sources are told what no checkpoint that is kept needs any more.

A run that goes on takes the newest checkpoint that is whole, finishes its step 3, and cuts off what came
later. The last three are kept; a damaged one gives way to the one before.
"""

import contextlib
import datetime as dt
import fcntl
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from flowedge import __version__
from flowedge.lang.errors import CheckpointError, SinkError, StateHeldError
from flowedge.runtime.clock import SYSTEM, Clock
from flowedge.runtime.rowlog import RowLog
from flowedge.session.snapshot import CHECKPOINT, seal, unseal
from flowedge.sinks import disk
from flowedge.sinks.atomic import explained, replace, sync_directory
from flowedge.types.encryption import Cipher

FORMAT = 4
"""3: files of outputs are told by SHA-256."""
_KNOWN = (3, FORMAT)
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
    session : the state of the session, None where it is finished
    sources : for each source, (file, row) behind the last row taken, rows pushed, and whether it ended
    outputs : for each output, how far its log and its files are
    report : the counts of the report
    is_finished : all rows are in complete files; only showing them may be missing
    engine : the version of FlowEdge that made it
    """

    epoch: int
    pipeline: str
    inputs: dict[str, list[list[Any]]]
    session: dict[str, Any] | None
    sources: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    report: dict[str, Any]
    is_finished: bool = False
    engine: str = __version__

    @property
    def needs(self) -> dict[str, int]:
        """For each output the number of the first row of its log that going on from here needs."""
        return {name: one["from"] for name, one in self.outputs.items()}


@dataclass
class State:
    """The directory of a run's state; one run holds it at a time.

    Parameters
    ----------
    root : the directory, made where it is missing
    pipeline : named to others that want the directory
    key : authenticates checkpoints; one that was not made with it is refused
    clock : tells when rows are to be synced

    Raises
    ------
    StateHeldError
        another run holds it
    SinkError
        it cannot be made or written
    """

    root: Path
    key: bytes | None = field(default=None, repr=False)
    epoch: int = 0
    pipeline: str = ""
    clock: Clock = SYSTEM
    _lock: IO[bytes] | None = None
    _needs: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take hold of the directory."""
        if self.root.exists() and not self.root.is_dir():
            raise SinkError(f"`{self.root}` is a file; give a directory for the state")
        try:
            disk.make_directories(self.root)
            # Unbuffered: text that a full disk refused must not come up again when it is closed.
            self._lock = (self.root / "lock").open("ab+", buffering=0)
        except OSError as error:
            raise explained(self.root, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().decode(errors="replace").strip() or "another process"
            self._lock.close()
            raise StateHeldError(
                f"the state in `{self.root}` is held by {holder}; wait for that run, or give another directory"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: only the holder's name is missing
            self._lock.truncate(0)
            since = dt.datetime.now().astimezone().isoformat(" ", "seconds")
            what = f" ({self.pipeline})" if self.pipeline else ""
            self._lock.write(f"process {os.getpid()}{what} since {since}\n".encode())

    # ---- going on

    def newest(
        self, is_usable: Callable[[Saved], bool] = lambda _: True
    ) -> tuple[Saved | None, str]:
        """The newest checkpoint that is whole, and why later ones were passed over; None to start afresh.

        Parameters
        ----------
        is_usable : whether all that a checkpoint speaks of is there

        Raises
        ------
        CheckpointError
            there are checkpoints, but none that can be read
        """
        found = self._checkpoints()
        problems: list[str] = []
        whole: list[Saved] = []
        for epoch, path in reversed(found):
            try:
                saved = read_checkpoint(path, self.key)
            except CheckpointError as error:
                problems.append(f"checkpoint {epoch}: {error}")
                continue
            whole.append(saved)
            if is_usable(saved):
                return self._go_back_to(saved), "; ".join(problems)
            problems.append(f"checkpoint {epoch}: rows that it speaks of are not there")
        if whole:  # rows are lost, as far as the policy of their sink allows
            return self._go_back_to(whole[0]), "; ".join(problems)
        if found:
            raise CheckpointError(
                f"no checkpoint in `{self.root}` can be read ({problems[0]}); remove the directory to start afresh"
            )
        return None, ""

    def _go_back_to(self, saved: Saved) -> Saved:
        """Checkpoints after it are removed, before what they speak of is."""
        self.epoch = saved.epoch
        later = [path for epoch, path in self._checkpoints() if epoch > saved.epoch]
        self._unlink(later)
        return saved

    # ---- keeping

    def log(self, output: str, sync_every_s: float = 0.0, cipher: Cipher | None = None) -> RowLog:
        """The log of an output: a name may hold what a path may not."""
        safe = "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}" for c in output)
        return RowLog(self.root / "rows" / safe[:200], sync_every_s, cipher, self.clock)

    def save(self, saved: Saved) -> None:
        """Make a checkpoint last; what it speaks of must be on the disk.

        Raises
        ------
        SinkError
            the disk is full or has failed; the checkpoint before stays
        """
        self._require_held()
        path = self.root / f"checkpoint-{saved.epoch:08d}.flowstate"
        replace(path, seal({"format": FORMAT, **vars(saved)}, magic=CHECKPOINT, key=self.key))
        self.epoch = saved.epoch
        self._needs = [*self._needs, saved.needs][-KEPT:]

    def _require_held(self) -> None:
        """Stop where the directory is not the one any more that was taken hold of: rows in it are gone."""
        assert self._lock is not None
        mine = os.fstat(self._lock.fileno())
        try:
            there = (self.root / "lock").stat()
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise SinkError(
                f"the state in `{self.root}` was removed under the run; run the same command again to start afresh"
            )

    def drop_old(self, kept: int = KEPT) -> dict[str, int]:
        """Remove all but the last checkpoints; the first row of each log that is still needed."""
        old = [path for _, path in self._checkpoints()[:-kept]]
        self._unlink(old)
        if len(self._needs) < KEPT:
            return {}
        return {name: min(needs.get(name, 0) for needs in self._needs) for name in self._needs[-1]}

    # ---- the end

    def clear(self) -> None:
        """The outputs are complete: forget all, so that the next run starts afresh.

        Checkpoints go oldest first, the one that says so at the end.
        """
        for _, path in self._checkpoints():
            self._unlink([path])
        rows = self.root / "rows"
        if not rows.is_dir():
            return
        try:
            for path in sorted(rows.glob("*/*")):
                disk.calls.unlink(path)
            for folder in (*rows.iterdir(), rows):
                disk.calls.remove_directory(folder)
        except OSError as error:
            raise SinkError(f"cannot clean `{rows}`: {error.strerror or error}") from None

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    # ---- parts

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """(epoch, path), oldest first."""
        return checkpoints_in(self.root)

    def _unlink(self, paths: list[Path]) -> None:
        if not paths:
            return
        for path in paths:
            try:
                disk.calls.unlink(path)
            except OSError as error:
                raise explained(path, error) from None
        sync_directory(self.root)


_KINDS: dict[str, Any] = {
    "epoch": int, "pipeline": str, "inputs": dict, "session": dict | None, "sources": dict, "outputs": dict, "report": dict,
    "is_finished": bool, "engine": str,
}  # fmt: skip


def checkpoints_in(root: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a directory: (epoch, path), oldest first."""
    found = ((_NAME.match(path.name), path) for path in root.iterdir())
    return sorted((int(name.group(1)), path) for name, path in found if name)


def read_checkpoint(path: Path, key: bytes | None = None) -> Saved:
    """One checkpoint.

    Raises
    ------
    CheckpointError
        it is damaged, of another version, or not made with the key
    """
    try:
        kept = unseal(path.read_bytes(), magic=CHECKPOINT, key=key)
        if kept.pop("format", None) not in _KNOWN:
            raise CheckpointError("it was made by another version of FlowEdge")
        saved = Saved(**kept)
        if not all(isinstance(getattr(saved, name), kind) for name, kind in _KINDS.items()):
            raise CheckpointError("it is damaged: what it holds is no state of a run")
        return saved
    except OSError as error:
        raise CheckpointError(f"cannot read `{path}`: {error.strerror or error}") from None
    except TypeError:
        raise CheckpointError("it was made by another version of FlowEdge") from None


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
        the pipeline is quite another one, or a file has changed since
    """
    way_out = f"run that one, or start afresh: remove `{root}`"
    if saved.pipeline != pipeline and (saved.is_finished or not set(saved.inputs) & set(inputs)):
        raise CheckpointError(
            f"the checkpoint in `{root}` was made by another pipeline, or with other parameters; {way_out}"
        )
    for name, files in inputs.items():
        if name not in saved.inputs:
            continue
        before = [list(x) for x in saved.inputs[name]]
        if before != files:
            changed = next((f[0] for f in files if f not in before), "its files")
            raise CheckpointError(
                f"`{name}` has changed since the checkpoint in `{root}`: {changed}; {way_out}"
            )
