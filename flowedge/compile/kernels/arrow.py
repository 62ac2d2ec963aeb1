"""Where a kernel finds the columns of a record batch: words of ``struct ArrowArray``.

https://arrow.apache.org/docs/format/CDataInterface.html
"""

from flowedge.compile.memory import i64, u8

ROWS, NULLS, OFFSET, BUFFERS, CHILDREN, DICTIONARY, RELEASE = 0, 1, 2, 5, 6, 7, 8
WORDS = 10


def is_there(array: int, row: int) -> int:
    """Whether the value of a row of a column is there, 1 or 0.

    Parameters
    ----------
    array : address of the column
    row : counted from the beginning of its buffers
    """
    bits = i64(i64(array, BUFFERS), 0)
    if bits == 0 or i64(array, NULLS) == 0:
        return 1
    return (u8(bits, row >> 3) >> (row & 7)) & 1
