"""What would keep a service from working, found before it is installed."""

import grp
import importlib.util
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowedge.runtime.operate.needs import Needs, parents


@dataclass(frozen=True, slots=True)
class Account:
    """Who the service is: a user of the system, or (without a name) one that systemd makes up, who owns nothing."""

    name: str = ""
    uid: int = -1
    gids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, name: str) -> "Account":
        """The user of a name; raises KeyError."""
        found = pwd.getpwnam(name)
        return cls(name, found.pw_uid, frozenset(os.getgrouplist(name, found.pw_gid)))

    @property
    def shown(self) -> str:
        """For messages."""
        return f"the user {self.name}" if self.name else "a user made up by systemd (DynamicUser)"

    def may(self, path: Path, want: int) -> bool:
        """Whether the bits of a path (4 read, 2 write, 1 enter) let this account in; access lists are not looked at."""
        if self.uid == 0:
            return True
        about = path.stat()
        shift = 6 if about.st_uid == self.uid else 3 if about.st_gid in self.gids else 0
        return stat.S_IMODE(about.st_mode) >> shift & want == want


def problems(
    flow: Path, needs: Needs, who: Account, credentials: dict[str, Path], state: str, *, environment: Path | None, metrics: bool
) -> Iterator[str]:  # fmt: skip
    """Sentences, each with what to do.

    Parameters
    ----------
    flow : the pipeline's file, resolved
    needs : what it names
    who : the service's account
    credentials : files that systemd hands to it, by name
    state : the folder that systemd makes for it, in which it may write
    environment : file with variables for it
    metrics : it serves them
    """
    for path, what in sorted(needs.relative.items()):
        yield f"{what} names `{path}`, and a service has no folder that this could be relative to; write the whole path"
    yield from _unreadable(flow, "the pipeline", who)
    for place in programs():
        yield from _unreadable(Path(place), "Python", who)
    for path, what in sorted(needs.reads.items()):
        if Path(path).is_absolute():
            yield from _unreadable(Path(path), what, who)
    for path, what in sorted(needs.writes.items()):
        if Path(path).is_absolute() and not is_below(path, state):
            yield from _unwritable(Path(path), what, who, state)
    for path, what in sorted(needs.devices.items()):
        if Path(path).is_absolute() and Path(path).exists() and not Path(path).is_char_device():
            yield f"{what}: `{path}` is no device"
    for reference, what in sorted(needs.secrets.items()):
        yield from _secret(reference, what, who, credentials, environment)
    for name, file in sorted(credentials.items()):
        if not file.is_absolute() or not file.is_file():
            yield f"the credential `{name}`: there is no file `{file}`; give the whole path of one"
    if environment is not None and (not environment.is_absolute() or not environment.is_file()):
        yield f"there is no file `{environment}`; give the whole path of one"
    if metrics and importlib.util.find_spec("prometheus_client") is None:
        yield "`--metrics` needs prometheus-client; `pip install 'flowedge[metrics]'`"
    found = subprocess.run([sys.executable, "-P", "-c", "import flowedge"], cwd="/", env={}, capture_output=True, check=False)  # it is ours  # fmt: skip
    if found.returncode:
        yield f"`{sys.executable}` finds FlowEdge only from here; install it there (`pip install .`)"


def programs() -> tuple[str, ...]:
    """Where the interpreter and FlowEdge come from."""
    import flowedge  # noqa: PLC0415  # only to ask where it lies

    own = Path(flowedge.__file__ or "").parent
    found = (
        Path(sys.executable),
        Path(sys.executable).resolve(),
        Path(sys.prefix),
        Path(sys.base_prefix),
        own,
    )
    return tuple(dict.fromkeys(str(path) for path in found))


def _unreadable(path: Path, what: str, who: Account) -> Iterator[str]:
    try:
        shut = next((one for one in parents(path) if not who.may(one, 1)), None)
        if shut is None and who.may(path, 5 if path.is_dir() else 4):
            return
        yield f"{what}: `{path}` cannot be read by {who.shown}" + (f", who may not enter `{shut}`" if shut else "") + _cure(who)  # fmt: skip
    except OSError as error:
        yield f"{what}: `{path}`: {error.strerror}"


def _unwritable(path: Path, what: str, who: Account, state: str) -> Iterator[str]:
    if not path.is_dir():
        yield f"{what}: there is no folder `{path}`; make it, for the service may write in nothing that is not there"
    elif not who.may(path, 3) or any(not who.may(one, 1) for one in parents(path)):
        yield f"{what}: `{path}` cannot be written by {who.shown}; write below `{state}`" + _cure(who)  # fmt: skip


def _cure(who: Account) -> str:
    return "" if who.name else ", or say with `--as USER` who the service is"


def _secret(
    reference: str, what: str, who: Account, credentials: dict[str, Path], environment: Path | None
) -> Iterator[str]:
    kind, colon, rest = reference.partition(":")
    if colon and kind in ("credential", "systemd"):
        if rest not in credentials:
            yield f"{what} wants the credential `{rest}`; say where it lies: `--credential {rest}=/PATH`"
    elif colon and kind == "env":
        if environment is None:
            yield f'{what} wants the variable `{rest}`; give `--environment /FILE`, or better write `secret("systemd:{rest}")`'
    else:
        path = Path(rest if colon and kind == "file" else reference)
        if not path.is_absolute():
            yield f'{what} names the secret `{path}`; write the whole path, or better `secret("systemd:NAME")`'
        else:
            yield from _unreadable(path, what, who)


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, or is it."""
    return Path(path).is_relative_to(folder) and ".." not in Path(path).parts


def has_group(name: str) -> bool:
    """Whether the system has a group."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
