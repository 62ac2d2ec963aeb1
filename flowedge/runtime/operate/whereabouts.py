"""Where the runs of this machine can be asked: a small file for each that has a port, in a folder of its user.

Under systemd the folder is that of the service (``RuntimeDirectory=``), else the user's own in ``$XDG_RUNTIME_DIR`` or, without one,
in the folder for temporary files.
"""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_ENDING = ".run.json"
_LARGEST = 1 << 14


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A run, and where it can be asked."""

    pid: int
    name: str
    url: str


def _own() -> Path:
    """The folder of this user."""
    told = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if told:
        return Path(told)
    home = os.environ.get("XDG_RUNTIME_DIR", "")
    return (
        Path(home) / "flowedge" if home else Path(tempfile.gettempdir()) / f"flowedge-{os.getuid()}"
    )


def _is_ours(folder: Path) -> bool:
    """Whether nobody else has made it in our name."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


@contextlib.contextmanager
def listed(found: Whereabouts) -> Iterator[None]:
    """Let others find a run while the block runs; a folder that cannot be used is left alone."""
    path: Path | None = None
    with contextlib.suppress(OSError):
        folder = _own()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder):
            path = folder / f"{found.pid}{_ENDING}"
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "w") as file:  # fmt: skip
                json.dump(asdict(found), file)
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def runs() -> list[Whereabouts]:
    """The runs that can be found by this user and are still there."""
    folders = {*([_own()] if _is_ours(_own()) else []), *_services()}
    found = []
    for folder in sorted(folders):
        for path in sorted(folder.glob(f"*{_ENDING}")):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                told = json.loads(path.read_bytes()[:_LARGEST])
                one = Whereabouts(int(told["pid"]), str(told["name"]), str(told["url"]))
                if _is_there(one.pid):
                    found.append(one)
    return found


def _services() -> list[Path]:
    """The folders of system services, and those of this user's."""
    roots = [Path("/run/flowedge"), Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere") / "flowedge"]  # fmt: skip
    out = []
    for root in roots:
        with contextlib.suppress(OSError):
            out += [path for path in root.iterdir() if path.is_dir()]
    return out


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
