"""NumPy archives: one column for each array, streamed out of the zip file."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Predicate, connector
from flowedge.sources.files import FileSource
from flowedge.sources.limits import check_ratio
from flowedge.types.connectors import Option, Signature


@dataclass(frozen=True, slots=True)
class _Member:
    """One array of the archive, as its header says."""

    name: str
    entry: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: "np.dtype[Any]"

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


@connector("npz")
class Npz(FileSource):
    """Read a NumPy archive (``numpy.savez``): arrays of shape (rows,) or (rows, …) become columns.

    The last axes become a fixed-size list, flattened. Byte strings (``S8``), from which NumPy
    strips zero bytes at the end, become binary values; `pad` puts the zeros back. Arrays of
    Python objects are refused, since reading them can run a stranger's code.
    """

    raises = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
    options = Signature(
        (
            Option(
                "pad",
                "integer",
                0,
                "bytes of each binary value, filled up with zeros; 0: as stored",
            ),
        )
    )

    def schema_of(self, path: str) -> pa.Schema:
        """A column for each array that has at least one axis."""
        with _archive(path) as archive:
            return pa.schema([pa.field(m.name, self._kind(m)) for m in _members(path, archive)])

    def read(
        self, path: str, columns: list[str] | None, predicate: Predicate | None, skip: int
    ) -> Iterator[pa.RecordBatch]:
        """Blocks of rows, all arrays side by side."""
        with ExitStack() as stack:
            archive = stack.enter_context(_archive(path))
            members = [m for m in _members(path, archive) if columns is None or m.name in columns]
            for member in members if not self.given["trusted"] else ():
                entry = archive.getinfo(member.entry)
                check_ratio(path, f"`{member.name}`", entry.compress_size, entry.file_size)
            if not members:
                return
            rows = members[0].shape[0]
            for member in members:
                if member.shape[0] != rows:
                    raise SourceError(
                        f"`{path}` has {rows} rows in `{members[0].name}` and {member.shape[0]} in "
                        f"`{member.name}`; declare only columns of one length"
                    )
            readers = [_rows(path, archive, m, stack) for m in members]
            schema = pa.schema([pa.field(m.name, self._kind(m)) for m in members])
            for at in range(0, rows, BATCH_ROWS):
                count = min(BATCH_ROWS, rows - at)
                blocks = [read(count) for read in readers]
                drop = min(count, max(0, skip - at))
                if drop < count:
                    arrays = [
                        self._column(m, b[drop:]) for m, b in zip(members, blocks, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _kind(self, member: _Member) -> pa.DataType:
        dtype = member.dtype
        if dtype.kind == "S":
            return pa.binary()
        if dtype.kind == "U":
            return pa.string()
        unit, step = np.datetime_data(dtype) if dtype.kind == "M" else ("ns", 1)
        if unit not in ("s", "ms", "us", "ns") or step != 1:
            unit = "ns"
        kind = (
            pa.timestamp(unit)
            if dtype.kind == "M"
            else pa.from_numpy_dtype(dtype.newbyteorder("="))
        )
        width = math.prod(member.shape[1:])
        return kind if len(member.shape) == 1 else pa.list_(kind, width)

    def _column(self, member: _Member, block: "np.ndarray[Any, Any]") -> pa.Array:
        kind = self._kind(member)
        if pa.types.is_binary(kind):
            pad = self.given["pad"] or 0
            return pa.array([bytes(v).ljust(pad, b"\0") for v in block.tolist()], kind)
        if pa.types.is_string(kind):
            return pa.array(block.tolist(), kind)
        native = np.ascontiguousarray(block.astype(block.dtype.newbyteorder("="), copy=False))
        if pa.types.is_timestamp(kind):
            return pa.array(native.astype(f"datetime64[{kind.unit}]"), kind)
        if pa.types.is_fixed_size_list(kind):
            flat = pa.array(native.reshape(-1), kind.value_type)
            return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        return pa.array(native, kind)


def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"`{path}` is no readable npz archive ({str(error).lower()}); was it written to the end?"
        ) from None


def _members(path: str, archive: zipfile.ZipFile) -> list[_Member]:
    """Every array with rows, in the order of the archive."""
    out = []
    for entry in archive.namelist():
        if not entry.endswith(".npy"):
            continue
        name = entry.removesuffix(".npy")
        with archive.open(entry) as stream:
            shape, fortran, dtype = _header(path, name, stream)
            stored = archive.getinfo(entry).file_size - stream.tell()
        if dtype.hasobject or dtype.kind not in "biufMSU":
            raise SourceError(
                f"`{path}`: the array `{name}` holds {'Python objects' if dtype.hasobject else dtype}, "
                "which is not read; store numbers, times or text"
            )
        if stored != dtype.itemsize * math.prod(shape):
            raise SourceError(f"`{path}`: the array `{name}` is not as long as its header says")
        if shape:
            out.append(_Member(name, entry, shape, fortran, dtype))
    if not out:
        raise SourceError(f"`{path}` holds no arrays with rows")
    return out


def _header(
    path: str, name: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        return read(stream)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise SourceError(f"`{path}`: the array `{name}` is damaged") from None


def _rows(path: str, archive: zipfile.ZipFile, member: _Member, stack: ExitStack) -> Any:  # noqa: ANN401
    """A function that gives the next `count` rows of an array."""
    stream = stack.enter_context(archive.open(member.entry))
    _header(path, member.name, stream)

    def exactly(size: int) -> bytes:
        try:
            data = stream.read(size)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise SourceError(f"`{path}`: the array `{member.name}` is damaged ({error})") from None
        if len(data) < size:
            raise SourceError(f"`{path}`: the array `{member.name}` is cut short")
        return data

    if member.fortran and len(member.shape) > 1:  # columns lie one after the other: no streaming
        data = exactly(member.row_bytes * member.shape[0])
        whole = np.frombuffer(data, member.dtype).reshape(member.shape, order="F")
        at = 0

        def of_memory(count: int) -> "np.ndarray[Any, Any]":
            nonlocal at
            at += count
            return whole[at - count : at]

        return of_memory

    def of_stream(count: int) -> "np.ndarray[Any, Any]":
        data = exactly(member.row_bytes * count)
        return np.frombuffer(data, member.dtype).reshape((count, *member.shape[1:]))

    return of_stream
