"""Arrow arrays of numbers and texts, made of buffers and read from them.

``pyarrow.array`` asks of each list and each NumPy array whether it is one of pandas, and imports that where it is installed;
casts import `pyarrow.compute`: together a quarter of a second at the start of a run.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_FEW_BYTES, _BYTES_A_VALUE = 4096, 12
_WIDE = pa.large_binary()


def size_of(batch: Any) -> int:  # noqa: ANN401
    """Bytes that a record batch takes, for bounds and counts; a slice of a few narrow rows may count for those beside it, too.

    ``nbytes`` looks through each column, and lets go of Python's lock while it does: twelve microseconds, and
    many times that where another thread waits for the lock.

    Examples
    --------
    >>> rows = pa.record_batch({"v": [1.5, 2.5, 3.5]})
    >>> size_of(rows), size_of(rows.slice(1, 1))
    (24, 8)
    """
    whole: int = batch.get_total_buffer_size()
    most = min(_FEW_BYTES, _BYTES_A_VALUE * batch.num_rows * batch.num_columns)
    return whole if whole <= most else int(batch.nbytes)


def nullable(numbers: NDArray[Any], kind: Any) -> Any:  # noqa: ANN401
    """Numbers as an Arrow array, the negative ones null.

    Examples
    --------
    >>> nullable(np.array([2, -1], np.int32), pa.int32()).to_pylist()
    [2, None]
    """
    return masked(numbers, kind, numbers < 0)


def masked(numbers: NDArray[Any], kind: Any, gone: NDArray[np.bool_]) -> Any:  # noqa: ANN401
    """Numbers as an Arrow array over the same memory, null where they are `gone`.

    Examples
    --------
    >>> masked(np.array([2, 9]), pa.int64(), np.array([False, True])).to_pylist()
    [2, None]
    """
    return pa.Array.from_buffers(kind, len(numbers), [_there(gone), pa.py_buffer(numbers)])


def truths(holds: NDArray[np.bool_], gone: NDArray[np.bool_] | None = None) -> Any:  # noqa: ANN401
    """Truth values as an Arrow array, null where they are `gone`.

    Examples
    --------
    >>> truths(np.array([True, False, True]), np.array([False, False, True])).to_pylist()
    [True, False, None]
    """
    bits = pa.py_buffer(np.packbits(holds, bitorder="little"))
    there = None if gone is None else _there(gone)
    return pa.Array.from_buffers(pa.bool_(), len(holds), [there, bits])


def _there(gone: NDArray[np.bool_]) -> Any:  # noqa: ANN401
    """The bitmap of what is not gone; None where all is there."""
    return pa.py_buffer(np.packbits(~gone, bitorder="little")) if gone.any() else None


def text_array(texts: Sequence[str]) -> Any:  # noqa: ANN401
    """Texts as an Arrow array of strings.

    Examples
    --------
    >>> text_array(["calm", "loud"]).to_pylist()
    ['calm', 'loud']
    """
    data = [text.encode() for text in texts]
    ends = np.array([0, *accumulate(map(len, data))], np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(data))]
    )


def places(indices: Any) -> NDArray[np.int32]:  # noqa: ANN401
    """The numbers of an Arrow array of int32, -1 for null; a view where none is.

    Examples
    --------
    >>> places(pa.array([4, None, 5], pa.int32())[1:]).tolist()
    [-1, 5]
    """
    bits, values = indices.buffers()
    n, first = len(indices), indices.offset
    found = np.frombuffer(values, np.int32, n, 4 * first)
    if not indices.null_count:
        return found
    lead = first & 7
    there = np.unpackbits(
        np.frombuffer(bits, np.uint8)[first >> 3 :], count=lead + n, bitorder="little"
    )
    return np.where(there[lead:], found, np.int32(-1))


def to_list(column: Any) -> list[Any]:  # noqa: ANN401
    """The values of a column for Python; those of a dictionary by their numbers, each of which Arrow would look up by itself.

    Examples
    --------
    >>> to_list(pa.array(["a", None, "a"]).dictionary_encode())
    ['a', None, 'a']
    """
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    texts = column.dictionary.to_pylist()
    return [None if place is None else texts[place] for place in column.indices.to_pylist()]


def bytes_array(texts: Sequence[bytes | None], kind: Any = None) -> Any:  # noqa: ANN401
    """Bytes as an Arrow array of large binary, or of strings, which are then not looked at.

    Examples
    --------
    >>> bytes_array([b"a", None]).to_pylist()
    [b'a', None]
    """
    width = np.int64 if kind is None else np.int32
    ends = np.array([0, *accumulate(0 if t is None else len(t) for t in texts)], width)
    bits = None
    if None in texts:
        there = np.array([t is not None for t in texts], np.bool_)
        bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    buffers = [bits, pa.py_buffer(ends), pa.py_buffer(b"".join(t for t in texts if t is not None))]
    return pa.Array.from_buffers(_WIDE if kind is None else kind, len(texts), buffers)
