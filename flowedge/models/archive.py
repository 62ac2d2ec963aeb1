"""Opening a model's archive without trusting it: limits first, then names, then bytes."""

import io
import zipfile
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
        total = 0
        for member in members:
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

    def has(self, path: str) -> bool:
        """Whether there is a member at a path below the archive's one folder."""
        return path in self.members

    def read(self, path: str) -> bytes:
        """The bytes of a member; raises ModelError where it is missing or damaged."""
        member = self.members.get(path)
        if member is None:
            raise ModelError(f"model `{self.name}` lacks its part `{path}`; export it again")
        try:
            data = self._zip.read(member)
        except (
            zipfile.BadZipFile,
            ValueError,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ):
            raise ModelError(f"model `{self.name}` is damaged in its part `{path}`") from None
        if len(data) != member.file_size:
            raise ModelError(f"model `{self.name}` is damaged in its part `{path}`")
        return data
