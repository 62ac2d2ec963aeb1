"""The files behind an address: patterns, captured keys, and what to say when there is none."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from flowedge.lang.errors import SourceError

_CAPTURE = re.compile(r"\{([^\W\d]\w*)\}")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """A file, and the keys that its path says."""

    path: str
    captured: dict[str, str] = field(default_factory=dict)


def captured_names(address: str, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names in braces, each once, in order of appearance; with `wanted` only those.

    Examples
    --------
    >>> captured_names("exp{exp}_user{user}.npz")
    ('exp', 'user')
    """
    names = dict.fromkeys(_CAPTURE.findall(address))
    return tuple(n for n in names if wanted is None or n in wanted)


def find(
    address: str,
    wanted: Sequence[str] | None = None,
    *,
    suffix: str = "",
    directories: bool = False,
) -> list[Found]:
    """All files that an address means, in the order of the bytes of their paths.

    Parameters
    ----------
    address : a path; with ``*``, ``?``, ``[…]`` and ``**`` a pattern, unless a file has just that
        name; ``{name}`` matches one or more characters and captures them
    wanted : which ``{name}`` are captures; None: all
    suffix : added to the address where it is looked up (``.hea`` of a WFDB record), and not in
        what is given back
    directories : a directory is found, too, instead of being refused

    Raises
    ------
    SourceError : nothing is there, or it is no readable file
    """
    names = captured_names(address, wanted)
    if not names and (not _WILD.search(address) or Path(address + suffix).exists()):
        check_file(address + suffix, directories=directories)
        return [Found(address)]
    found = sorted(
        _walk(address + suffix, names, directories=directories), key=lambda f: os.fsencode(f.path)
    )
    if not found:
        raise SourceError(f"no file matches `{address}{suffix}`{_where_it_breaks(address, names)}")
    for one in found:
        check_file(one.path, directories=directories)
    if suffix:
        return [Found(one.path[: -len(suffix)], one.captured) for one in found]
    return found


def matches(address: str, wanted: Sequence[str] | None = None) -> list[Found]:
    """As `find`, of whatever is there: nothing is refused, and nothing may match."""
    names = captured_names(address, wanted)
    return sorted(_walk(address, names, directories=False), key=lambda f: os.fsencode(f.path))


def check_file(path: str, *, directories: bool = False) -> None:
    """Refuse what cannot be read: nothing there, a directory, no permission, an empty file.

    Raises
    ------
    SourceError : one sentence
    """
    if "\0" in path:
        raise SourceError(f"the path {path!r} contains a NUL character")
    try:
        status = Path(path).stat()
    except OSError as error:
        raise SourceError(_reason(path, error)) from None
    if Path(path).is_dir():
        if directories:
            return
        raise SourceError(f"`{path}` is a directory, not a file; name a file in it{_example(path)}")
    if not os.access(path, os.R_OK):
        raise SourceError(f"no permission to read `{path}`; allow it with `chmod u+r`")
    if Path(path).is_file() and status.st_size == 0:
        raise SourceError(f"`{path}` is empty (0 bytes); was it written to the end?")


def os_error(path: str, error: OSError) -> SourceError:
    """What the system said about a file, as one sentence."""
    return SourceError(_reason(path, error))


def _reason(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return f"there is no file `{path}`{_nearest(path)}"
        case errno.EACCES | errno.EPERM:
            return f"no permission to read `{path}`; allow it with `chmod u+r`"
        case errno.ENAMETOOLONG:
            return f"the path `{path[:60]}…` is too long for this system"
        case errno.ELOOP:
            return f"`{path}` is a link that leads back to itself"
        case _:
            return f"cannot read `{path}`: {error.strerror or error}"


def _nearest(path: str) -> str:
    """Advice after a missing path: the nearest name in the deepest directory that exists."""
    parent, name = Path(path).parent, Path(path).name
    while not parent.exists() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    if parent.is_file():
        return f"; `{parent}` is a file, not a directory"
    inside = _names(parent)
    near = get_close_matches(name, inside, n=1, cutoff=0.5) or get_close_matches(
        name.lower(), [n.lower() for n in inside], n=1, cutoff=0.5
    )
    if near:
        same = next(n for n in inside if near[0] in (n, n.lower()))
        return f"; did you mean `{parent / same}`?"
    if name != Path(path).name:
        return f"; there is no directory `{parent / name}`"
    return "; the directory is empty" if not inside else ""


def _names(directory: Path) -> list[str]:
    try:
        return sorted(e.name for e in os.scandir(directory) if not e.name.startswith("."))
    except OSError:
        return []


def _example(directory: str) -> str:
    files = [n for n in _names(Path(directory)) if (Path(directory) / n).is_file()]
    return f", such as `{Path(directory) / files[0]}`" if files else ""


def _pattern(segment: str, names: tuple[str, ...]) -> re.Pattern[str] | None:
    """A segment of a path as a regular expression; None if it is literal."""
    out, at, groups = "", 0, set[int]()
    literal = True
    while at < len(segment):
        capture = _CAPTURE.match(segment, at)
        if capture and capture[1] in names:
            group = names.index(capture[1])
            out += f"(?P=c{group})" if group in groups else f"(?P<c{group}>.+?)"
            groups.add(group)
            at, literal = capture.end(), False
            continue
        char = segment[at]
        at += 1
        if char == "*":
            out, literal = out + ".*", False
        elif char == "?":
            out, literal = out + ".", False
        elif char == "[" and (end := segment.find("]", at + 1)) > 0:
            inside = segment[at:end].replace("\\", "\\\\")
            inside = "^" + inside[1:] if inside.startswith("!") else inside
            out, literal, at = f"{out}[{inside}]", False, end + 1
        else:
            out += re.escape(char)
    return None if literal else re.compile(out, re.DOTALL)


def _walk(address: str, names: tuple[str, ...], *, directories: bool) -> Iterator[Found]:
    """Every path that matches, with what it captures."""
    path = Path(address)
    root = Path(path.anchor) if path.is_absolute() else Path()
    segments = path.parts[1:] if path.is_absolute() else path.parts

    def descend(at: Path, rest: tuple[str, ...], captured: dict[str, str]) -> Iterator[Found]:
        if not rest:
            if at.is_file() or (directories and at.is_dir()):
                yield Found(str(at), captured)
            return
        segment, *after = rest
        if segment == "**":
            yield from descend(at, tuple(after), captured)
            for name in _names(at):
                if (at / name).is_dir() and not (at / name).is_symlink():
                    yield from descend(at / name, rest, captured)
            return
        pattern = _pattern(segment, names)
        if pattern is None:
            if (at / segment).exists():
                yield from descend(at / segment, tuple(after), captured)
            return
        for name in _names(at):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            new = {names[int(g[1:])]: text for g, text in match.groupdict().items()}
            if all(captured.get(k, v) == v for k, v in new.items()):
                yield from descend(at / name, tuple(after), captured | new)

    # One file may match `**` along two ways.
    seen: set[str] = set()
    for found in descend(root, tuple(segments), {}):
        if found.path not in seen:
            seen.add(found.path)
            yield found


def _where_it_breaks(address: str, names: tuple[str, ...]) -> str:
    """Advice after a pattern without a match: what there is instead."""
    parent = Path(address).parent
    while _WILD.search(str(parent)) or captured_names(str(parent), names):
        parent = parent.parent
    if not parent.exists():
        return f"; there is no directory `{parent}`"
    inside = _names(parent)
    if not inside:
        return f"; `{parent}` is empty"
    return f"; `{parent}` holds {', '.join(f'`{n}`' for n in inside[:3])}{' …' * (len(inside) > 3)}"
