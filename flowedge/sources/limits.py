"""How much a file may ask for before it is believed: bounds that no recording reaches and a bomb does."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.types.connectors import Option

TRUSTED = Option(
    "trusted", "flag", default=False, doc="the file comes from a known place: no limits inside it"
)
"""An option of every file source."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one file says of itself.

    Attributes
    ----------
    columns : the widest known logs of cars and plants have some ten thousand signals
    nesting : lists in lists in structs; a tensor of a camera has three levels
    ratio : decompressed bytes for each stored one; constant columns reach some thousand in small pieces
    piece_bytes : of a row group, a batch or an array, unpacked; half a billion numbers
    small_bytes : what decompresses to less needs no ratio: it fits into memory
    text_bytes : of one text or binary value; a picture or a certificate fits
    rows : of a row group or a batch; Parquet writers stop at a million
    metadata_bytes : of one message of Arrow; that of the most columns takes some megabytes
    line_bytes : of one line of JSON; a picture in it fits
    csv_row_bytes : a row of so many bytes can be read; of the columns above 64 characters each
    """

    columns: int = 16_384
    nesting: int = 16
    ratio: int = 1000
    piece_bytes: int = 4 << 30
    small_bytes: int = 64 << 20
    text_bytes: int = 16 << 20
    rows: int = 1 << 28
    metadata_bytes: int = 16 << 20
    line_bytes: int = 16 << 20
    csv_row_bytes: int = 1 << 20


LIMITS = Limits()


def exceeded(path: str, what: str, limit: str) -> SourceError:
    """What is too much, where, and how to read it all the same."""
    return SourceError(
        f"`{path}` {what}, and {limit} is the limit; if the file comes from a known place, "
        "say `trusted=true` to the connector"
    )


def check_schema(path: str, schema: pa.Schema) -> None:
    """Not too many columns, not too deep; raises SourceError."""
    if len(schema) > LIMITS.columns:
        raise exceeded(path, f"has {len(schema):,} columns", f"{LIMITS.columns:,}")
    for one in schema:
        depth = _depth(one.type)
        if depth > LIMITS.nesting:
            raise exceeded(path, f"nests `{one.name[:80]}` {depth} deep", str(LIMITS.nesting))


def check_names(path: str, names: Iterable[str]) -> None:
    """No two columns of one name, of which nobody knows which is meant; raises SourceError."""
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise SourceError(f"`{path}` has two columns named `{twice[0][:80]}`; rename one of them")


def check_ratio(path: str, what: str, stored: int, unpacked: int) -> None:
    """Not blown up out of nothing, and not larger than memory; raises SourceError."""
    if unpacked > LIMITS.piece_bytes:
        raise exceeded(
            path, f"says that {what} unpacks to {unpacked:,} bytes", f"{LIMITS.piece_bytes:,}"
        )
    if unpacked > LIMITS.small_bytes and unpacked > LIMITS.ratio * max(1, stored):
        raise exceeded(
            path, f"says that {what} is {stored:,} bytes that unpack to {unpacked:,}",
            f"{LIMITS.ratio:,} to 1",
        )  # fmt: skip


def check_rows(path: str, what: str, rows: int) -> None:
    """Not more rows in one piece than memory takes; raises SourceError."""
    if rows > LIMITS.rows or rows < 0:
        raise exceeded(path, f"says that {what} has {rows:,} rows", f"{LIMITS.rows:,}")


def check_texts(path: str, batch: pa.RecordBatch) -> None:
    """No text or binary value beyond the limit; raises SourceError."""
    if batch.nbytes <= LIMITS.text_bytes:
        return
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for part in _leaves(column):
            size = part.buffers()[2]
            if size is None or size.size <= LIMITS.text_bytes:
                continue
            width = (
                8
                if pa.types.is_large_string(part.type) or pa.types.is_large_binary(part.type)
                else 4
            )
            kind = pa.int64() if width == 8 else pa.int32()
            ends = pa.Array.from_buffers(
                kind, len(part) + 1, [None, part.buffers()[1]], offset=part.offset
            ).to_numpy()
            longest = int((ends[1:] - ends[:-1]).max()) if len(part) else 0
            if longest > LIMITS.text_bytes:
                raise exceeded(
                    path, f"has a value of {longest:,} bytes in `{name}`", f"{LIMITS.text_bytes:,}"
                )


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The arrays of text in a column."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        yield from _leaves(column.dictionary)
    elif (
        pa.types.is_string(kind) or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    ):  # fmt: skip
        yield column
    elif (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        yield from _leaves(column.values)
    elif pa.types.is_struct(kind):
        for k in range(kind.num_fields):
            yield from _leaves(column.field(k))


def _depth(kind: pa.DataType) -> int:
    """Levels of a type, counted without recursion: the type itself may be the attack."""
    deepest, todo = 0, [(kind, 1)]
    while todo:
        here, depth = todo.pop()
        deepest = max(deepest, depth)
        if depth > LIMITS.nesting:
            return depth
        if pa.types.is_dictionary(here):
            todo.append((here.value_type, depth + 1))
        todo += [(here.field(k).type, depth + 1) for k in range(here.num_fields)]
    return deepest
