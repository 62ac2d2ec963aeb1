"""Whether stored files are as they were written: the lists in ``_manifest/``, checked without the run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowedge.lang.errors import RunError
from flowedge.runtime.keys import SUFFIX, PublicKey, check_signed
from flowedge.sinks.digests import Digest, of_file
from flowedge.sinks.manifest import FOLDER, Listed, listed, read, signed_text


@dataclass
class Verdict:
    """What is known of the files of one sink.

    Attributes
    ----------
    wrong : a sentence for each thing that is not as it was written
    signed_by : the name of the key, empty where nothing is signed
    """

    path: Path
    files: int = 0
    rows: int = 0
    is_complete: bool = True
    signed_by: str = ""
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The verdict in words."""
        head = f"{self.path}: {self.files:,} file{'s' * (self.files != 1)}, {self.rows:,} rows, "
        head += f"signed by {self.signed_by}" if self.signed_by else "not signed"
        out = [head, *(f"  {line}" for line in self.wrong)]
        if not self.wrong:
            out.append("  every file is as it was written")
        if not self.is_complete:
            out.append(
                "  the run that wrote them has not come to its end; more files may be on their way"
            )
        return out


def verify(path: Path, key: PublicKey | None = None) -> list[Verdict]:
    """Check files against their lists, and the lists against their signatures.

    Parameters
    ----------
    path : an output file, a directory of outputs, or a signed file (with ``.sig`` beside it)
    key : the public key that must have signed; None: a signature is checked with the key that it names,
        which tells that nothing was changed, and not by whom it was signed

    Raises
    ------
    RunError : there is nothing to check with
    DigestError : a signed file does not match
    """
    if not path.exists():
        if _lists_of(path):
            return [_one(found, key, None) for found in _lists_of(path)]
        raise RunError(f"there is no file `{path}`")
    if path.is_dir():
        lists = sorted(path.rglob(f"{FOLDER}/*.json"))
        if not lists:
            raise RunError(f"`{path}` holds no list of files (`{FOLDER}/`), so nothing can be told")
        return [_one(found, key, None) for found in lists]
    lists = _lists_of(path)
    if lists:
        return [_one(found, key, path) for found in lists]
    if path.with_name(path.name + SUFFIX).exists():
        return [_signed(path, key)]
    raise RunError(f"no list in `{FOLDER}/` knows `{path}`, and there is no `{path.name}{SUFFIX}`")


def _signed(path: Path, key: PublicKey | None) -> Verdict:
    if key is None:
        try:
            told = json.loads(path.with_name(path.name + SUFFIX).read_text("utf-8"))
            key = PublicKey.of(told["key"])
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(f"`{path.name}{SUFFIX}` is no signature") from None
    check_signed(path, key)
    return Verdict(path, 1, 0, signed_by=key.name)


def _lists_of(path: Path) -> list[Path]:
    """Lists that know a file, in the folders above it."""
    out = []
    for base in path.absolute().parents:
        for found in sorted((base / FOLDER).glob("*.json")):
            told = read(found)
            names = {one.path for key in ("files", "earlier") for one in listed(told, key)}
            if str(path.absolute().relative_to(base)) in names:
                out.append(found)
        if out:
            break
    return out


def _one(path: Path, key: PublicKey | None, only: Path | None) -> Verdict:
    """The files of one list; `only`: one of them."""
    verdict = Verdict(path)
    told = read(path)
    if not told:
        verdict.wrong.append("DAMAGED  the list itself cannot be read")
        return verdict
    base = path.parent.parent
    files, earlier = listed(told, "files"), listed(told, "earlier")
    if len(files) != len(told.get("files") or ()):
        verdict.wrong.append("CHANGED  the list names files that no run could have written")
    verdict.files, verdict.rows = len(files), sum(one.rows for one in files)
    verdict.is_complete = bool(told.get("complete"))
    _signature(verdict, told, files, key)
    _chain(verdict, files)
    by_digest = {one.digest: one.path for one in files}
    newest = {one.path: one for one in (*earlier, *files)}
    for one in newest.values():
        if only is None or (base / one.path).absolute() == only.absolute():
            verdict.wrong += _file(base, one, by_digest, told, earlier)
    if only is None:
        known = {*newest, *(one.path for one in earlier)}
        verdict.wrong += [f"ADDED    {name}" for name in _unknown(base, told, known)]
    return verdict


def _signature(
    verdict: Verdict, told: dict[str, Any], files: list[Listed], key: PublicKey | None
) -> None:
    signature = told.get("signature")
    if not isinstance(signature, dict):
        if key is not None:
            verdict.wrong.append("UNSIGNED the list carries no signature, and one is asked for")
        return
    name = str(signature.get("key"))
    if key is not None and name != key.name:
        verdict.wrong.append(f"FOREIGN  signed by {name}, not by the key that is asked for")
        return
    try:
        used = key or PublicKey.of(name)
    except RunError:
        verdict.wrong.append("CHANGED  the signature names no key")
        return
    message = signed_text(told, files, listed(told, "earlier"))
    if not used.is_of(signature, message):
        verdict.wrong.append(
            "CHANGED  the signature does not fit: files were removed from the list, added, changed or reordered in it"
        )
        return
    verdict.signed_by = name


def _chain(verdict: Verdict, files: list[Listed]) -> None:
    link = ""
    for one in files:
        if one.after(link).link != one.link:
            verdict.wrong.append(
                f"REORDER  the chain breaks at {one.path}: a line before it was removed, added, changed or moved"
            )
            return
        link = one.link


def _file(
    base: Path,
    one: Listed,
    by_digest: dict[Digest, str],
    told: dict[str, Any],
    earlier: list[Listed],
) -> Iterator[str]:
    """What is wrong with a file; one that is not as listed is read again for each algorithm that another one may be told by."""
    path = base / one.path
    try:
        if of_file(path, one.digest.algorithm) == one.digest:
            return
        before = {e.digest for e in earlier if e.path == one.path}
        asked = {digest.algorithm for digest in (*before, *by_digest)}
        found = {of_file(path, algorithm) for algorithm in asked}
    except FileNotFoundError:
        # A list tells of files a moment before they are shown.
        unfinished = "" if told.get("complete") else " (or the run was killed before it was shown)"
        yield f"REMOVED  {one.path}{unfinished}"
        return
    except OSError as error:
        yield f"UNREAD   {one.path}: {error.strerror}"
        return
    if not told.get("complete") and before & found:
        return  # of the run before, about to be replaced
    other = next((by_digest[digest] for digest in found if digest in by_digest), None)
    yield (
        f"EXCHANGE {one.path} holds what {other} should hold"
        if other
        else f"CHANGED  {one.path}: {path.stat().st_size:,} bytes, {one.size_bytes:,} were written"
    )


def _unknown(base: Path, told: dict[str, Any], known: set[str]) -> list[str]:
    """Files that are called like ours and are not listed."""
    pattern = told.get("pattern")
    if not isinstance(pattern, str) or pattern.startswith("/") or ".." in pattern:
        return []
    found = (str(p.relative_to(base)) for p in base.glob(pattern) if p.is_file())
    return sorted(name for name in found if name not in known and not name.startswith((".", "_")))
