"""Opening a model's archive without trusting it: limits first, then names, then bytes."""

import io
import zipfile
import zlib
from pathlib import PurePosixPath

from flowedge.lang.errors import ModelError

MOST_MEMBERS = 4096
MOST_BYTES = 2**30
HIGHEST_RATIO = 200


class Archive:
    """The members of a zip archive held in memory, read one by one within limits.

    Parameters
    ----------
    data : the bytes of the file
    name : what to call it in errors

    Raises
    ------
    ModelError
        no archive, damaged, too many or too large members, or names that leave the archive
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            raise ModelError(
                f"model `{name}` is truncated or not a model archive; export it again"
            ) from None
        if len(members) > MOST_MEMBERS:
            raise ModelError(
                f"model `{name}` has {len(members)} members; at most {MOST_MEMBERS} are read"
            )
        self._look_at_places(members)
        total = 0
        for member in members:
            if member.flag_bits & 1:
                raise ModelError(f"model `{name}` is encrypted; save it without a password")
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                raise ModelError(
                    f"model `{name}` has a member `{member.filename}` that points outside the archive"
                )
            total += member.file_size
            if total > MOST_BYTES or (
                member.file_size > 2**20
                and member.file_size > HIGHEST_RATIO * max(1, member.compress_size)
            ):
                raise ModelError(
                    f"model `{name}` unpacks to more than it may: a zip bomb, or over {MOST_BYTES >> 20} MiB"
                )
        self.members = {
            str(PurePosixPath(*PurePosixPath(m.filename).parts[1:])): m for m in members
        }
        if len(self.members) < len(members):
            raise ModelError(f"model `{name}` has a member twice, so that it is two models in one")

    def _look_at_places(self, members: list[zipfile.ZipInfo]) -> None:
        """Nothing lies before the archive (the rest of a torn one that held another), and no two members share bytes."""
        end = 0
        for member in sorted(members, key=lambda m: m.header_offset):
            if not end and member.header_offset:
                raise ModelError(
                    f"model `{self.name}` is truncated or not a model archive; export it again"
                )
            if member.header_offset < end:
                raise ModelError(f"model `{self.name}` has members that overlap: a zip bomb")
            end = member.header_offset + member.compress_size

    def has(self, path: str) -> bool:
        """Whether there is a member at a path below the archive's one folder."""
        return path in self.members

    def read(self, path: str, most: int = MOST_BYTES) -> bytes:
        """The bytes of a member; raises ModelError where it is missing, damaged, or larger than `most`."""
        member = self.members.get(path)
        if member is None:
            raise ModelError(f"model `{self.name}` lacks its part `{path}`; export it again")
        if member.file_size > most:
            raise ModelError(
                f"model `{self.name}` has a part `{path}` that is larger than {most >> 20} MiB"
            )
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
            raise ModelError(f"model `{self.name}` is damaged in its part `{path}`") from None
        if len(data) != member.file_size:
            raise ModelError(f"model `{self.name}` is damaged in its part `{path}`")
        return data
