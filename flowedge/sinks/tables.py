"""What sinks that fill a table of a database have in common: names, columns, and where a stream ends."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SinkError
from flowedge.sinks.cells import as_json
from flowedge.sinks.remote import RemoteSink
from flowedge.types.compute import pc
from flowedge.types.connectors import NEEDED, Option, Signature

PLACES = "flowedge_places"
"""The table that says of each stream how many rows of it are there; written in the transaction of the rows."""

TABLE = Option("table", "text", NEEDED, "table that takes the rows; made where it is missing")
INDEX = Option("index", "names", (), "columns of an index that a new table gets, such as [device, time]")  # fmt: skip

Kinds = tuple[str, ...]
"""Types of the database that a column can have, as it calls them; a new table gets the first."""


class TableSink(RemoteSink):
    """A sink whose rows become rows of a table.

    Rows are added, also by further runs. The number of rows so far stands in `PLACES`, and is written in the transaction of the
    rows: after an outage, or a kill with checkpoints, the next row is known. A run that ends well removes its
    own line there; that of a run that was killed and never resumed may be deleted.
    """

    guarantee: ClassVar = "exactly once"
    options = Signature((TABLE, INDEX))
    _there = -1
    """Rows of the stream as this sink saw them last in `PLACES`; -1: no line."""

    def _moved(self) -> SinkError:
        return SinkError(
            f"another process writes `{self.stream}` to {self.where}; one run at a time can go on from a state"
        )

    @property
    def where(self) -> str:
        """The table and its database, for messages."""
        return f"`{self.given['table']}` in {self.name} `{self.address}`"


def quoted(name: str, mark: str = '"') -> str:
    """A name as SQL writes it, whatever it holds.

    Examples
    --------
    >>> quoted('a"b')
    '"a""b"'
    """
    return mark + name.replace(mark, mark + mark) + mark


def columns_of(
    wanted: Mapping[str, Kinds], found: Mapping[str, str] | None, needed: Sequence[str], where: str
) -> dict[str, str]:
    """The type that each column has in the database.

    Parameters
    ----------
    wanted : columns of the stream, with the types that fit
    found : columns of the table; None: there is none yet
    needed : columns of the table that must be given: not null and without a default
    where : the table, for the message

    Raises
    ------
    SinkError : the table has no such column, one of another type, or needs one more

    Examples
    --------
    >>> columns_of({"v": ("double", "real")}, {"v": "real", "id": "int"}, (), "t")
    {'v': 'real'}
    """
    if found is None:
        return {name: kinds[0] for name, kinds in wanted.items()}
    wrong = []
    for name, kinds in wanted.items():
        if name not in found:
            wrong.append(f"it has no `{name}` ({kinds[0]})")
        elif found[name] not in kinds:
            wrong.append(f"`{name}` is {found[name]} there and should be {' or '.join(kinds)}")
    wrong += [f"it needs `{name}`, which the stream has not" for name in needed if name not in wanted]  # fmt: skip
    if wrong:
        raise SinkError(f"{where} does not take the rows: {'; '.join(wrong)}")
    return {name: found[name] for name in wanted}


def signed(column: pa.Array, name: str) -> pa.Array:
    """Whole numbers as int64; raises SinkError: one is 2^63 or more."""
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise SinkError(f"`{name}` has a number of 2^63 or more, and the table takes none") from None  # fmt: skip


def microseconds(column: pa.Array) -> pa.Array:
    """Times in whole microseconds since 1970, int64, rounded down.

    Examples
    --------
    >>> microseconds(pa.array([1_999, -1, None], pa.timestamp("ns"))).to_pylist()
    [1, -1, None]
    """
    whole = column.cast(pa.int64())
    down = np.asarray(whole.fill_null(0)) // 1000
    return pa.array(down, mask=np.asarray(whole.is_null()) if whole.null_count else None)


def as_texts(column: pa.Array) -> pa.Array:
    """Lists as JSON; a missing one is missing.

    Examples
    --------
    >>> as_texts(pa.array([[1.5, None], None, []], pa.list_(pa.float32()))).to_pylist()
    ['[1.5,null]', None, '[]']
    """
    if pa.types.is_nested(column.type.value_type):
        return pc.if_else(column.is_valid(), as_json(column), pa.scalar(None, pa.string()))
    # All numbers at once, and then put together: 20 times as fast as list by list.
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    offsets = np.concatenate([[0], lengths.cumsum()])
    texts = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), as_json(column.flatten()))
    whole = pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")
    return pc.if_else(column.is_valid(), whole, pa.scalar(None, pa.string()))
