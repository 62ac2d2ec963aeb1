"""What a sink has written: each file with its size, rows and digest, in the order of completion.

The list lies beside the files, in ``_manifest/``, a folder that tools which read directories of Parquet
pass over. A file is listed before it becomes visible, so whatever moment a run is killed in, every visible
file is either on the list with its digest or belongs to somebody else. Files of runs before stay listed as
`earlier` until a new run has replaced them; parts of a directory that it did not replace are removed when
it is complete.

A digest stands under the name of its algorithm: `blake3`, or `sha256` in lines of versions before.

Each file carries a *link*: SHA-256 over the link before it and its own line. So the last link stands for
the whole list in its order, and is what a signature signs (a hash chain: Haber and Stornetta, "How to
time-stamp a digital document", Journal of Cryptology 3, 1991).
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowedge.lang.errors import SinkError
from flowedge.sinks import disk
from flowedge.sinks.atomic import explained, replace, sync_directory
from flowedge.sinks.digests import Digest

FOLDER = "_manifest"
ASIDE = "_quarantine"
"""Where files go that a run wrote after the checkpoint it had to go back to."""
FORMAT = 2
"""1: all digests are by SHA-256."""
_KNOWN = (1, FORMAT)
_LONGEST = 180

Sign = Callable[[bytes], dict[str, str]]
"""What makes the signature of a message, as the manifest keeps it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file: its path relative to the folder that `_manifest` lies in, what it holds, its link."""

    path: str
    size_bytes: int
    rows: int
    digest: Digest
    link: str = ""

    def after(self, link: str) -> "Listed":
        """The same with its link, behind that of the file before."""
        told = json.dumps([self.path, self.size_bytes, self.rows, self.digest.text])
        return dataclasses.replace(
            self, link=hashlib.sha256(f"{link}\n{told}".encode()).hexdigest()
        )

    @property
    def line(self) -> dict[str, Any]:
        """As the list has it."""
        told = {"path": self.path, "size_bytes": self.size_bytes, "rows": self.rows}
        return {**told, **self.digest.entry, "link": self.link}

    @classmethod
    def of(cls, line: dict[str, Any]) -> "Listed":
        """The inverse of `line`; raises TypeError for anything else."""
        digest, rest = Digest.taken(line)
        return cls(digest=digest, **rest)


class Manifest:
    """The list of one sink.

    Parameters
    ----------
    base : the folder of the files; it need not exist yet
    name : of the sink's files, one for each sink of the folder
    header : what else is told: the pipeline's digest, those of its models
    sign : makes the signature; None: unsigned

    Attributes
    ----------
    files : of this run
    earlier : of runs before, as long as this one is not complete
    """

    def __init__(
        self, base: Path, name: str, header: dict[str, Any] | None = None, sign: Sign | None = None
    ) -> None:
        self.base = base
        self.path = base / FOLDER / f"{_shortened(name)}.json"
        self.files: list[Listed] = []
        self.earlier: list[Listed] = []
        self._header, self._sign = header or {}, sign

    def begin(self) -> None:
        """A new run: what is listed is of runs before."""
        before = read(self.path)
        self.files = []
        self.earlier = _once([*_listed(before, "files"), *_listed(before, "earlier")])

    def files_on_disk(self) -> list[Listed]:
        """What is listed now for the run that wrote last."""
        return _listed(read(self.path), "files")

    def resume(self, count: int) -> list[Listed]:
        """Go on behind the first `count` files; gives those behind them, which are listed no more.

        Raises
        ------
        SinkError : fewer are listed
        """
        before = read(self.path)
        files = _listed(before, "files")
        if len(files) < count:
            raise SinkError(
                f"DATA LOSS: `{self.path}` lists {len(files)} files, and the checkpoint speaks of {count}; "
                "put the list back, or start afresh without the state"
            )
        self.files, later = files[:count], files[count:]
        self.earlier = _listed(before, "earlier")
        return later

    def announce(self, new: Sequence[tuple[Path, int, int, Digest]]) -> None:
        """Files that are about to become visible: (path, bytes, rows, digest).

        Raises
        ------
        SinkError : the list cannot be written
        """
        link = self.files[-1].link if self.files else ""
        for path, size, rows, digest in new:
            one = Listed(self.relative(path), size, rows, digest).after(link)
            self.files.append(one)
            link = one.link
        self.write(is_complete=False)

    def settle(self, *, removes: bool) -> None:
        """The run is complete; `removes`: what earlier runs wrote and this one did not goes.

        Raises
        ------
        SinkError : a file of an earlier run cannot be removed
        """
        now = {one.path for one in self.files}
        self.earlier = [one for one in self.earlier if one.path not in now]
        folders = set()
        for one in self.earlier if removes else ():
            path = self.base / one.path
            try:
                disk.calls.unlink(path)
            except OSError as error:
                if not isinstance(error, FileNotFoundError | NotADirectoryError):
                    raise explained(path, error) from None
            folders.add(path.parent)
        if removes:
            self.earlier = []
        self.write(is_complete=True)
        for folder in sorted(folders, reverse=True):
            if folder != self.base:
                disk.remove_directories([folder])
            if folder.is_dir():
                sync_directory(folder)

    def tell(self, more: dict[str, Any]) -> None:
        """Add to the header what is known at the end."""
        self._header = {**self._header, **more}

    def write(self, *, is_complete: bool) -> None:
        """Put the list on the disk; raises SinkError."""
        told: dict[str, Any] = {"format": FORMAT, "complete": is_complete, **self._header}
        if self._sign is not None:
            told["signature"] = self._sign(signed_text(told, self.files, self.earlier))
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in told.items()]
        for key, files in (("files", self.files), ("earlier", self.earlier)):
            rows = ",\n".join(f"    {json.dumps(one.line)}" for one in files)
            lines.append(f'  "{key}": [{f"{chr(10)}{rows}{chr(10)}  " if rows else ""}],')
        text = "{\n" + "\n".join(lines).rstrip(",") + "\n}\n"
        replace(self.path, text.encode("utf-8", "surrogateescape"))

    def relative(self, path: Path) -> str:
        """A path as it is listed."""
        return os.path.relpath(path, self.base)


def signed_text(told: dict[str, Any], files: Sequence[Listed], earlier: Sequence[Listed]) -> bytes:
    """What a signature signs: the header without the signature, the number of files, the last link."""
    header = {k: v for k, v in told.items() if k not in ("signature", "files", "earlier")}
    last = files[-1].link if files else ""
    before = [[one.path, one.digest.text] for one in earlier]
    whole = ["flowedge manifest", header, len(files), last, before]
    return json.dumps(whole, sort_keys=True).encode()


def read(path: Path) -> dict[str, Any]:
    """A list as it stands; empty where there is none or it cannot be read."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") in _KNOWN else {}


def _listed(found: dict[str, Any], key: str) -> list[Listed]:
    """The files under a key; a name that leads out of the folder is none of ours."""
    out = []
    for one in found.get(key) or ():
        try:
            listed = Listed.of(one)
            parts = Path(listed.path).parts
        except TypeError:
            continue
        if parts and ".." not in parts and not Path(listed.path).is_absolute():
            out.append(listed)
    return out


listed = _listed


def _once(files: list[Listed]) -> list[Listed]:
    """The newest of each path."""
    by_path: dict[str, Listed] = {}
    for one in files:
        by_path.setdefault(one.path, one)
    return list(by_path.values())


def _shortened(name: str) -> str:
    """A name that fits into a directory, and is no path."""
    plain = name.replace("/", "+")
    if len(os.fsencode(plain)) <= _LONGEST:
        return plain
    return hashlib.sha256(os.fsencode(plain)).hexdigest()[:32]
