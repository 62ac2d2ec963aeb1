"""Opening a model's archive without trusting it: limits first, then names, then bytes."""

import io
import json
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Any, NoReturn

from flowedge.lang.errors import ModelError
from flowedge.models.magic import is_pickle, kind_of
from flowedge.models.trust import UNREAD

MOST_MEMBERS = 4096
MOST_BYTES = 2**30
HIGHEST_RATIO = 200
LARGEST_JSON = 2**24
"""Bytes of a part that is JSON, at most."""
MOST_VALUES = 2**19
"""Values in it, at most: a list of nothing takes two bytes in the file, and 56 when it is read."""


class Archive:
    """The members of a zip archive held in memory, read one by one within limits.

    Parameters
    ----------
    data : the bytes of the file
    name : what to call it in errors

    Attributes
    ----------
    members : by path below the archive's one folder

    Raises
    ------
    ModelError
        no archive, damaged, too many or too large members, names that leave the archive or are not printed, or
        anything by which two readers would see two archives in it
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._parsed: dict[str, Any] = {}
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            self._refuse(_no_archive(data))
        self._look_at_end(data)
        if len(members) > MOST_MEMBERS:
            self._refuse(f"has {len(members)} members; at most {MOST_MEMBERS} are read")
        self._look_at_places(members)
        self._look_at_names(members)
        self._look_at_sizes(members)
        self.members = {_inside(m.filename): m for m in members}
        if len(self.members) < len(members):
            self._refuse("has a member twice, so that it is two models in one")

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(f"model `{self.name}` {what}") from None

    def _look_at_end(self, data: bytes) -> None:
        """The list of members begins where the end says (APPNOTE.TXT 4.3.14 to 4.3.16), and no other end is in sight.

        Readers look for the end in different ways, and some correct what it says: a file could show each its own list.
        """
        end, place = data[-22:], data[-6:-2]
        is_one = end.startswith(b"PK\5\6") and end.endswith(b"\0\0")
        if not is_one and not self._zip.comment:  # what ends before is an archive in a part of it
            self._refuse(_no_archive(data))
        if data[-42:-38] == b"PK\6\7":  # numbers of 64 bits before it, as Torch writes them
            record, place = data[-98:-42], data[-50:-42]
            far = int.from_bytes(data[-34:-26], "little")
            is_one &= far == len(data) - 98 and record.startswith(b"PK\6\6")
        if not is_one or int.from_bytes(place, "little") != self._zip.start_dir:
            self._refuse(
                f"ends in a way that shows each reader another list of its members, and is read from nobody; {UNREAD}"
            )

    def _look_at_places(self, members: list[zipfile.ZipInfo]) -> None:
        """Nothing lies before the archive (the rest of a torn one that held another), and no two members share bytes."""
        end = 0
        for member in sorted(members, key=lambda m: m.header_offset):
            if not end and member.header_offset:
                self._refuse(
                    f"begins with {member.header_offset} bytes that belong to no member; export it again"
                )
            if member.header_offset < end:
                self._refuse("has members that overlap: a zip bomb")
            end = member.header_offset + member.compress_size

    def _look_at_names(self, members: list[zipfile.ZipInfo]) -> None:
        """Each is read as it is shown, and stays inside."""
        for member in members:
            if member.flag_bits & 1:
                self._refuse("is encrypted; save it without a password")
            if not member.orig_filename.isprintable():
                self._refuse(
                    f"has a member {member.orig_filename!a}, of letters that are not shown, or turn others around"
                )
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                self._refuse(f"has a member `{member.filename}` that points outside the archive")

    def _look_at_sizes(self, members: list[zipfile.ZipInfo]) -> None:
        total = sum(m.file_size for m in members)
        if total > MOST_BYTES:
            self._refuse(f"unpacks to {total >> 20} MiB; at most {MOST_BYTES >> 20} are read")
        for member in members:
            packed = max(1, member.compress_size)
            if member.file_size > max(2**20, HIGHEST_RATIO * packed):
                self._refuse(
                    f"has a member `{member.filename}` that unpacks to {member.file_size // packed} times its bytes: a zip bomb"
                )

    def has(self, path: str) -> bool:
        """Whether there is a member at a path below the archive's one folder."""
        return path in self.members

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        """The bytes of a member; raises ModelError where it is missing, damaged, or larger than `most`."""
        member = self.members.get(path)
        if member is None:
            self._refuse(f"lacks its part `{path}`; export it again")
        if member.file_size > most:
            self._refuse(f"has a part `{path}` that is larger than {most >> 20} MiB")
        try:
            with self._zip.open(member) as held:
                data = held.read(member.file_size)  # without a size it unpacks all that comes
        except (
            zipfile.BadZipFile,
            ValueError,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
            zlib.error,
        ):
            self._refuse(f"is damaged in its part `{path}`")
        if len(data) != member.file_size:
            self._refuse(f"is damaged in its part `{path}`")
        return data

    def json(self, path: str) -> Any:  # noqa: ANN401  # whatever stands there
        """A member that is JSON, parsed once; raises ModelError where it is none, or too much."""
        if path not in self._parsed:
            self._parsed[path] = self._parse(path, self.read(path, LARGEST_JSON))
        return self._parsed[path]

    def _parse(self, path: str, data: bytes) -> Any:  # noqa: ANN401
        part = f"a part `{path}` that"
        if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES:
            self._refuse(f"has {part} holds more than {MOST_VALUES} values")
        try:
            return json.loads(data)
        except RecursionError:
            self._refuse(f"has {part} is nested too deeply; export it again")
        except ValueError as error:
            kind, ends = kind_of(data), _ends(error)
            if kind:
                self._refuse(f"has, in the place of its part `{path}`, {kind}; export it again")
            where = f"ends in the middle, after {len(data)} bytes" if ends else "is no JSON"
            self._refuse(f"has {part} {where}; export it again")


def _inside(name: str) -> str:
    """A member's path below the archive's folder; of one beside the folder what none below it can have."""
    _, *below = PurePosixPath(name).parts
    return str(PurePosixPath(*below)) if below else f"/{name}"


def _ends(error: ValueError) -> bool:
    """Whether a text is JSON as far as it goes."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")


def _no_archive(data: bytes) -> str:
    """What a file is that cannot be opened as an archive."""
    if not data:
        return "is an empty file; export it again"
    if data.startswith(b"PK\3\4"):
        return f"breaks off after {len(data)} bytes; copy it or export it again"
    kind = kind_of(data)
    if is_pickle(data):
        return f"is {kind}, and not a model archive; {UNREAD}"
    return f"is {kind or 'no file that is known by its beginning'}, and not a model archive; export it again"
