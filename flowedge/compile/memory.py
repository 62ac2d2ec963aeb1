"""Loads, stores and bit work on raw addresses: the plain Python twins of the kernel's intrinsics.

Generated source and the library kernels name these functions. Compiled, each becomes one or two
machine instructions (`flowedge.compile.intrinsics`); called from Python, for a debugger or a
reference test, each does the same through ctypes. An address is an int, an index counts items, and
a load of an integer is widened to 64 bits. Nothing here imports Numba.
"""

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD = 2**64 - 1


def _signed(value: int) -> int:
    """The low 64 bits as a signed number."""
    value &= _WORD
    return value - 2**64 if value >> 63 else value


def _real_load(kind: Any) -> Callable[[int, int], float]:  # noqa: ANN401
    size = ctypes.sizeof(kind)

    def load(address: int, index: int) -> float:
        return kind.from_address(address + size * index).value

    return load


def _load(kind: Any) -> Callable[[int, int], int]:  # noqa: ANN401
    size = ctypes.sizeof(kind)

    def load(address: int, index: int) -> int:
        return kind.from_address(address + size * index).value

    return load


def _store(kind: Any) -> Callable[[int, int, Any], None]:  # noqa: ANN401
    size = ctypes.sizeof(kind)

    def store(address: int, index: int, value: Any) -> None:  # noqa: ANN401
        kind.from_address(address + size * index).value = value

    return store


f64 = _real_load(ctypes.c_double)
f32 = _real_load(ctypes.c_float)
i64 = _load(ctypes.c_int64)
u64 = _load(ctypes.c_int64)
i32 = _load(ctypes.c_int32)
i16 = _load(ctypes.c_int16)
i8 = _load(ctypes.c_int8)
u32 = _load(ctypes.c_uint32)
u16 = _load(ctypes.c_uint16)
u8 = _load(ctypes.c_uint8)

set_f64 = _store(ctypes.c_double)
set_f32 = _store(ctypes.c_float)
set_i64 = _store(ctypes.c_int64)
set_u64 = _store(ctypes.c_int64)
set_i32 = _store(ctypes.c_int32)
set_u32 = _store(ctypes.c_uint32)
set_i16 = _store(ctypes.c_int16)
set_u16 = _store(ctypes.c_uint16)
set_i8 = _store(ctypes.c_int8)
set_u8 = _store(ctypes.c_uint8)


def word(address: int) -> int:
    """Eight bytes at any address, aligned or not."""
    return ctypes.c_int64.from_address(address).value


def set_word(address: int, value: int) -> None:
    """Write eight bytes to any address, aligned or not."""
    ctypes.c_int64.from_address(address).value = value


def half(address: int) -> int:
    """Four bytes at any address, as a number from 0 up."""
    return ctypes.c_uint32.from_address(address).value


def swap(value: int) -> int:
    """The eight bytes of a word in the opposite order."""
    return int.from_bytes((value & _WORD).to_bytes(8, "little"), "big", signed=True)


def fold(a: int, b: int) -> int:
    """The two halves of the 128-bit product of two words, xor-ed: one round of a hash.

    The mixing step of wyhash by Wang Yi (https://github.com/wangyi-fudan/wyhash).

    Examples
    --------
    >>> fold(3, 5), fold(-1, -1)
    (15, -1)
    """
    product = (a & _WORD) * (b & _WORD)
    return _signed(product ^ (product >> 64))


def high(a: int, b: int) -> int:
    """The upper half of the 128-bit product of two words without signs.

    Examples
    --------
    >>> high(1 << 62, 8), high(-1, -1)
    (2, -2)
    """
    return _signed(((a & _WORD) * (b & _WORD)) >> 64)


def wrap(value: int) -> int:
    """What 64 bits keep of a whole number; compiled, nothing else is possible.

    Examples
    --------
    >>> wrap(2**63), wrap(-5)
    (-9223372036854775808, -5)
    """
    return _signed(value)


def zeros(value: int) -> int:
    """How many of the 64 bits of a word are zero before the first that is one.

    Examples
    --------
    >>> zeros(1), zeros(-1), zeros(0)
    (63, 0, 64)
    """
    return 64 - (value & _WORD).bit_length()


def bits(value: float) -> int:
    """The bit pattern of a float64.

    Examples
    --------
    >>> hex(bits(1.0))
    '0x3ff0000000000000'
    """
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def real(pattern: int) -> float:
    """The float64 that has this bit pattern."""
    return float(struct.unpack("<d", struct.pack("<q", pattern))[0])


def prefetch(address: int) -> None:
    """Ask for the cache line at an address; no effect but on time."""


def array_f64(address: int, length: int) -> NDArray[np.float64]:
    """A view of `length` float64 numbers."""
    return np.ctypeslib.as_array((ctypes.c_double * length).from_address(address))


def array_i64(address: int, length: int) -> NDArray[np.int64]:
    """A view of `length` int64 numbers."""
    return np.ctypeslib.as_array((ctypes.c_int64 * length).from_address(address))


def copy(target: int, source: int, size: int) -> None:
    """Copy `size` bytes between places that do not overlap."""
    ctypes.memmove(target, source, size)


LANES = 4
"""Sections that `cascade` takes at most, and sums that `total` makes side by side."""
SECTION_STATE = 3
SECTION_CONSTANTS = 5


def cascade(
    x: int, y: int, rows: int, state: tuple[float, ...], constants: tuple[float, ...]
) -> tuple[float, ...]:
    """Second-order sections one behind the other over `rows` finite float64 numbers, at least 16.

    Parameters
    ----------
    x, y : addresses of the numbers and of the results; they may be the same
    state, constants : of each section, as `flowedge.operators.filters.iir.biquad` takes them

    Returns
    -------
    tuple
        the state behind the last row
    """
    held = list(state)
    for i in range(rows):
        v = f64(x, i)
        for k in range(len(state) // SECTION_STATE):
            b0, b1, b2, a1, a2 = constants[SECTION_CONSTANTS * k : SECTION_CONSTANTS * (k + 1)]
            u, last, z = held[SECTION_STATE * k : SECTION_STATE * (k + 1)]
            out = (b0 * v + u) - a1 * last
            held[SECTION_STATE * k : SECTION_STATE * (k + 1)] = b1 * v + z, out, b2 * v - a2 * out
            v = out
        set_f64(y, i, v)
    return tuple(held)


SIDE = 16
"""Results that stand side by side in a panel."""
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""At which polynomials are taken, and infinity behind them: small ones, whose powers round little."""
MIDDLE = 5.25
"""The polynomial that is zero at all of them is x⁷ - 5.25 x⁵ + 5.25 x³ - x."""
FACTORS = ((-4.25, 1.0), (-1.25, 0.25), (-5.0, 4.0))
"""Without x and two points with opposite signs it is x⁴ + a x² + b: a and b for 1, 2 and 0.5."""


def panel(
    x: int, x_step: int, segments: int, length: int, segment_step: int, weights: int, bias: int, y: int, y_step: int, rows: int, blocks: int, rectified: int
) -> None:  # fmt: skip
    """Sums of products: rows of float32 by a matrix, each sum in one order from the bias on.

    Parameters
    ----------
    x, x_step : address of the first row, and elements from one row to the next; they may overlap
    segments, length, segment_step : a row is so many stretches of so many numbers, with so many elements from one to the next
    weights : address of (blocks, segments * length, SIDE)
    bias : address of (blocks, SIDE)
    y, y_step : address of the first row of (blocks, SIDE) results, and elements from one to the next
    rows, blocks : how many there are
    rectified : 1 puts what is below zero to zero
    """
    size = segments * length
    by = _floats(weights, blocks * size * SIDE).reshape(blocks, size, SIDE).astype(np.float64)
    start = _floats(bias, blocks * SIDE).reshape(blocks, SIDE)
    for row in range(rows):
        out = start.copy()
        for k in range(size):
            segment, number = divmod(k, length)
            value = f32(x, row * x_step + segment * segment_step + number)
            out = (value * by[:, k] + out).astype(np.float32)
        if rectified:
            out[out < 0] = 0
        ctypes.memmove(y + 4 * row * y_step, out.tobytes(), out.nbytes)


def to_points(x: int, x_step: int, y: int, y_step: int, blocks: int) -> None:
    """Eight rows of float32, mixed so that the values of two polynomials at `POINTS`, times these, are what `from_points` takes.

    It is the transpose of finding the coefficients of a polynomial from its values, without the divisors, which belong to the weights.

    Parameters
    ----------
    x, x_step : address of the first row of (blocks, SIDE) numbers, and elements from one row to the next
    y, y_step : as `x`, of the eight results
    blocks : how many there are
    """
    given = np.stack([_floats(x + 4 * k * x_step, blocks * SIDE) for k in range(len(POINTS) + 1)])
    whole = np.polynomial.polynomial.polyfromroots(POINTS)
    rows = [np.polynomial.polynomial.polyfromroots([q for q in POINTS if q != p]) for p in POINTS]
    for k, row in enumerate([*rows, whole]):
        out = (row @ given[: len(row)]).astype(np.float32)
        ctypes.memmove(y + 4 * k * y_step, out.tobytes(), out.nbytes)


def from_points(
    x: int, x_step: int, bias: int, y: int, y_step: int, rows: int, blocks: int, rectified: int
) -> None:  # fmt: skip
    """Rows of float32 from their sums at `POINTS`: row i is the sum of these, each by its point to the power of i.

    Parameters
    ----------
    x, x_step : address of the first of eight rows of (blocks, SIDE) numbers, and elements from one row to the next
    bias : address of (blocks, SIDE), added to each result
    y, y_step : as `x`, of the results
    rows, blocks : of the results; the sum at infinity belongs to the last row
    rectified : 1 puts what is below zero to zero
    """
    given = np.stack([_floats(x + 4 * k * x_step, blocks * SIDE) for k in range(len(POINTS) + 1)])
    for row in range(rows):
        by = [*(p**row for p in POINTS), float(row == rows - 1)]
        out = (np.array(by) @ given + _floats(bias, blocks * SIDE)).astype(np.float32)
        if rectified:
            out[out < 0] = 0
        ctypes.memmove(y + 4 * row * y_step, out.tobytes(), out.nbytes)


def total(x: int, x_step: int, y: int, rows: int, blocks: int) -> None:
    """The sum of rows of float32 (blocks, SIDE), `x_step` elements apart: of every fourth one, then of these four."""
    sums = np.zeros((LANES, blocks * SIDE), np.float32)
    whole = rows // LANES * LANES
    for row in range(rows):
        sums[row % LANES if row < whole else 0] += _floats(x + 4 * row * x_step, blocks * SIDE)
    out = (sums[0] + sums[1]) + (sums[2] + sums[3])
    ctypes.memmove(y, out.tobytes(), out.nbytes)


def largest(x: int, blocks: int) -> int:
    """The bits of the number furthest from zero of (blocks, SIDE) float32, without its sign: above those of all numbers if one is none."""
    patterns = _floats(x, blocks * SIDE).view(np.int32) & 0x7FFFFFFF
    return int(patterns.max(initial=0))


def _floats(address: int, length: int) -> NDArray[np.float32]:
    return np.ctypeslib.as_array((ctypes.c_float * length).from_address(address))


ABREAST = 8
"""Keys whose numbers stand side by side in a variable."""


def f64_row(address: int, index: int) -> NDArray[np.float64]:
    """`ABREAST` numbers side by side, from one on."""
    return array_f64(address + 8 * index, ABREAST).copy()


def f32_row(address: int, index: int) -> NDArray[np.float64]:
    """`ABREAST` float32 side by side, as float64."""
    return _floats(address + 4 * index, ABREAST).astype(np.float64)


def i64_row(address: int, index: int) -> NDArray[np.int64]:
    """`ABREAST` whole numbers side by side."""
    return array_i64(address + 8 * index, ABREAST).copy()


def set_f64_row(address: int, index: int, values: NDArray[np.float64] | float) -> None:
    """Write `ABREAST` numbers side by side."""
    array_f64(address + 8 * index, ABREAST)[:] = values


def set_f32_row(address: int, index: int, values: NDArray[np.float64] | float) -> None:
    """Write `ABREAST` numbers side by side, rounded to float32."""
    _floats(address + 4 * index, ABREAST)[:] = values


def f64_each(addresses: NDArray[np.int64], index: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """One number from each of `ABREAST` addresses."""
    return np.array([f64(int(a), 0) for a in addresses + 8 * np.asarray(index)])


def i64_each(addresses: NDArray[np.int64], index: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """One whole number from each of `ABREAST` addresses."""
    return np.array([i64(int(a), 0) for a in addresses + 8 * np.asarray(index)])


def set_f64_each(
    addresses: NDArray[np.int64], index: NDArray[np.int64] | int, values: NDArray[np.float64] | float
) -> None:  # fmt: skip
    """Write one number to each of `ABREAST` addresses, in their order."""
    for at, value in zip(
        addresses + 8 * np.asarray(index), np.broadcast_to(values, ABREAST), strict=True
    ):
        set_f64(int(at), 0, float(value))


def set_i64_each(
    addresses: NDArray[np.int64], index: NDArray[np.int64] | int, values: NDArray[np.int64] | int
) -> None:
    """Write one whole number to each of `ABREAST` addresses, in their order."""
    for at, value in zip(
        addresses + 8 * np.asarray(index), np.broadcast_to(values, ABREAST), strict=True
    ):
        set_i64(int(at), 0, int(value))


def all_true() -> NDArray[np.bool_]:
    """`ABREAST` marks that are true."""
    return np.ones(ABREAST, np.bool_)


def are_all(marks: NDArray[np.bool_]) -> int:
    """1 where all are true, else 0."""
    return int(marks.all())


LOADS = ("f64", "f32", "i64", "u64", "i32", "i16", "i8", "u32", "u16", "u8")
NAMES: dict[str, Callable[..., Any]] = {
    name: globals()[name]
    for name in (
        *LOADS, *(f"set_{x}" for x in LOADS), "word", "set_word", "half", "swap", "fold", "high", "wrap", "zeros", "bits", "real", "prefetch",
        "array_f64", "array_i64", "copy", "cascade", "panel", "to_points", "from_points", "total", "largest",
        "f64_row", "f32_row", "i64_row", "set_f64_row", "set_f32_row", "f64_each", "i64_each", "set_f64_each", "set_i64_each", "all_true", "are_all",
    )
}  # fmt: skip
"""The functions by the names that generated source uses."""


def address(array: NDArray[Any]) -> int:
    """The address of an array's first item, for a context; the caller keeps the array alive."""
    return array.__array_interface__["data"][0]
