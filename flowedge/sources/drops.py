"""Files that are dropped into a folder: which of them are complete, and in which order they are read."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from flowedge.sources.paths import Found, matches


@dataclass
class Drops:
    """Looks at a folder, again and again.

    A file is complete once its size and the time of its last change have stayed the same for `settle_s`; one that was renamed into
    the folder keeps a time of change that lies further back, and counts from there.

    Parameters
    ----------
    address : a pattern of paths, see `flowedge.sources.paths.find`
    wanted : which names in braces are captured
    settle_s : so long a file must stay as it is [s]

    Attributes
    ----------
    done : paths that are read, and the stamp that each had
    gone : those of them that were not there any more when it last looked
    """

    address: str
    wanted: tuple[str, ...] | None
    settle_s: float
    done: dict[str, list[int]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    _seen: dict[str, tuple[list[int], float]] = field(default_factory=dict)

    def complete(self) -> list[Found]:
        """Files that are complete and not read, in the order of their names."""
        now = time.monotonic()
        seen: dict[str, tuple[list[int], float]] = {}
        out = []
        there = matches(self.address, self.wanted)
        for one in there:
            stamp = stamp_of(one.path)
            if stamp is None or self.done.get(one.path) == stamp:
                continue
            before = self._seen.get(one.path)
            since = before[1] if before is not None and before[0] == stamp else now - _age_s(stamp)
            seen[one.path] = (stamp, since)
            if now - since >= self.settle_s:
                out.append(one)
        self._seen = seen
        paths = {one.path for one in there}
        self.gone = [path for path in list(self.done) if path not in paths]
        for path in self.gone:  # what comes under its name is another
            self.done.pop(path, None)
        return out


def stamp_of(path: str) -> list[int] | None:
    """What changes when a file is written: number, size and time of change [ns]; None: it is gone, or empty."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns] if found.st_size else None


def _age_s(stamp: list[int]) -> float:
    """How long ago a file was changed, as far as the clocks agree [s]."""
    return max(0.0, (time.time_ns() - stamp[2]) * 1e-9)


def place_in(folder: str, path: str) -> Path:
    """Where a file goes in a folder, beside others of its name; raises OSError."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    place = target / Path(path).name
    number = 1
    while place.exists():
        number += 1
        place = target / f"{Path(path).stem}-{number}{Path(path).suffix}"
    return place
