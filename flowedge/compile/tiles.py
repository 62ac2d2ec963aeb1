"""Sums of products in the registers of a vector unit: the compiled form of `memory.panel` and its like.

Of a panel some rows of sixteen or thirty-two results are held in registers while all that is summed is gone through: each
vector of weights serves all rows, and each number of a row all vectors, so that there are twice as many multiplications as loads
(the micro-kernel of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008, for a matrix
that is never laid out). Multiplication and addition are one operation where the processor has it.

Importing this module imports Numba: only the cold path does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from flowedge.compile.memory import FACTORS, LANES, MIDDLE, POINTS, SIDE
from flowedge.compile.native import machine

_intrinsic: Callable[[Any], Any] = intrinsic

_I64, _I32, _F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
_VECTOR = ir.VectorType(_F32, SIDE)

_HAS_WIDE = "+avx512f" in machine()[1].split(",")
_ROWS = (12, 4, 1) if _HAS_WIDE else (6, 2, 1)
"""Of the tiles."""
_SIDES = (2, 1) if _HAS_WIDE else (1,)
"""Vectors beside each other: of thirty-two registers of sixteen numbers, or sixteen of eight, three in four hold sums."""


@dataclass(frozen=True)
class _Panel:
    """The arguments of `memory.panel`."""

    x: Any
    x_step: Any
    segments: Any
    length: Any
    segment_step: Any
    weights: Any
    bias: Any
    y: Any
    y_step: Any
    rows: Any
    blocks: Any
    rectified: Any


class _Writer:
    """Writes vectors of float32 into a function."""

    def __init__(self, builder: Any) -> None:  # noqa: ANN401
        self.builder = builder
        self._all = ir.Constant(ir.VectorType(_I32, SIDE), [0] * SIDE)

    def at(self, address: Any, index: Any) -> Any:  # noqa: ANN401
        """The pointer to an element."""
        return self.builder.gep(self.builder.inttoptr(address, _F32.as_pointer()), [index])

    def variable(self, value: Any) -> Any:  # noqa: ANN401
        """A place for a value that changes; the compiler keeps it in a register."""
        return cgutils.alloca_once_value(self.builder, value)

    def load(self, pointer: Any) -> Any:  # noqa: ANN401
        """The vector from an element on, at any address."""
        return self.builder.load(self.builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    def number(self, value: float) -> Any:  # noqa: ANN401
        """A number in all lanes."""
        return ir.Constant(_VECTOR, [value] * SIDE)

    def scaled(self, factor: float, a: Any, b: Any) -> Any:  # noqa: ANN401
        """Factor · a + b."""
        return self.builder.fadd(a, b) if factor == 1 else self.times(self.number(factor), a, b)

    def put(self, value: Any, pointer: Any) -> None:  # noqa: ANN401
        """Put a vector from an element on."""
        self.builder.store(value, self.builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    def store(self, value: Any, pointer: Any, rectified: Any) -> None:  # noqa: ANN401
        """Put a vector from an element on; what is below zero becomes zero where that is asked for."""
        b, nothing = self.builder, self.number(0.0)
        kept = b.select(b.fcmp_ordered("<", value, nothing), nothing, value)
        self.put(b.select(b.icmp_signed("!=", rectified, _I64(0)), kept, value), pointer)

    def spread(self, pointer: Any) -> Any:  # noqa: ANN401
        """The number there in all lanes."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        value = self.builder.load(pointer, align=4)
        one = self.builder.insert_element(undefined, value, _I32(0))
        return self.builder.shuffle_vector(one, undefined, self._all)

    def times(self, a: Any, b: Any, c: Any) -> Any:  # noqa: ANN401
        """A · b + c, as one operation where there is one."""
        product = self.builder.fmul(a, b, flags=("contract",))
        return self.builder.fadd(product, c, flags=("contract",))


def _tile(w: _Writer, p: _Panel, rows: int, sides: int, row: Any, block: Any) -> None:  # noqa: ANN401
    """The results of some rows and blocks."""
    b = w.builder
    size = b.mul(b.mul(p.segments, p.length), _I64(SIDE))  # of a block's weights
    sources = [w.at(p.x, b.mul(p.x_step, row))]
    for r in range(1, rows):
        near = (r - 1) // 3 * 3  # there are few registers for addresses
        sources.append(b.gep(sources[near], [b.mul(p.x_step, _I64(r - near))]))
    places = [b.mul(b.add(block, _I64(u)), _I64(SIDE)) for u in range(sides)]
    sums = [[w.variable(start) for _ in range(rows)] for start in (w.load(w.at(p.bias, at)) for at in places)]  # fmt: skip
    now = w.variable(w.at(p.weights, b.mul(block, size)))
    with cgutils.for_range(b, p.segments) as segment:
        first = b.mul(segment.index, p.segment_step)
        with cgutils.for_range(b, p.length) as number:
            index, weights = b.add(first, number.index), b.load(now)
            beside = [w.load(b.gep(weights, [b.mul(size, _I64(u))])) for u in range(sides)]
            for r in range(rows):
                value = w.spread(b.gep(sources[r], [index]))
                for u in range(sides):
                    b.store(w.times(beside[u], value, b.load(sums[u][r])), sums[u][r])
            b.store(b.gep(weights, [_I64(SIDE)]), now)
    for u in range(sides):
        for r in range(rows):
            place = b.add(b.mul(p.y_step, b.add(row, _I64(r))), places[u])
            w.store(b.load(sums[u][r]), w.at(p.y, place), p.rectified)


def _all_rows(w: _Writer, p: _Panel, sides: int, block: Any) -> None:  # noqa: ANN401
    """All rows of some blocks: most in large tiles, the others in small ones, of which the last may overlap the one before."""
    b = w.builder
    done: Any = _I64(0)
    for size in _ROWS:
        left = b.sub(p.rows, done)
        if size == _ROWS[1]:
            left = b.add(left, _I64(size - 1))
            left = b.select(b.icmp_signed(">=", p.rows, _I64(size)), left, _I64(0))
        count = b.sdiv(left, _I64(size))
        with cgutils.for_range(b, count) as tile:
            row, last = b.add(done, b.mul(tile.index, _I64(size))), b.sub(p.rows, _I64(size))
            row = b.select(b.icmp_signed("<", row, last), row, last)
            _tile(w, p, size, sides, row, block)
        done = b.add(done, b.mul(count, _I64(size)))


@_intrinsic
def panel(typingctx: Any, x: Any, x_step: Any, segments: Any, length: Any, segment_step: Any, weights: Any, bias: Any, y: Any, y_step: Any, rows: Any, blocks: Any, rectified: Any) -> Any:  # fmt: skip  # noqa: ANN401
    """`memory.panel`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        w, p, b = _Writer(builder), _Panel(*args), builder
        done: Any = _I64(0)
        for sides in _SIDES:
            count = b.sdiv(b.sub(p.blocks, done), _I64(sides))
            with cgutils.for_range(b, count) as group:
                block = b.add(done, b.mul(group.index, _I64(sides)))
                _all_rows(w, p, sides, block)
            done = b.add(done, b.mul(count, _I64(sides)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), code


@_intrinsic
def to_points(typingctx: Any, x: Any, x_step: Any, y: Any, y_step: Any, blocks: Any) -> Any:  # fmt: skip  # noqa: ANN401
    """`memory.to_points`: of the polynomials of two points with opposite signs the even and the odd part are computed once."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        x, x_step, y, y_step, blocks = args
        w, b = _Writer(builder), builder
        with cgutils.for_range(b, blocks) as block:
            first = b.mul(block.index, _I64(SIDE))
            given = [w.load(w.at(x, b.add(first, b.mul(x_step, _I64(k))))) for k in range(len(POINTS) + 1)]  # fmt: skip
            even, odd = given[::2], given[1::2]
            outer = [b.fsub(at[3], at[0]) for at in (even, odd)]
            inner = [b.fsub(at[1], at[2]) for at in (even, odd)]
            at_zero, at_infinity = (w.scaled(MIDDLE, m, n) for m, n in zip(inner, outer, strict=True))  # fmt: skip
            made = [at_zero]
            for point, (middle, low) in zip(POINTS[1::2], FACTORS, strict=True):
                plus = w.scaled(middle, even[2], w.scaled(low, even[1], even[3]))
                minus = w.scaled(point * middle, odd[1], w.scaled(point, odd[2], b.fmul(w.number(point * low), odd[0])))  # fmt: skip
                made += [b.fadd(plus, minus), b.fsub(plus, minus)]
            for k, value in enumerate([*made, at_infinity]):
                w.put(value, w.at(y, b.add(first, b.mul(y_step, _I64(k)))))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code


@_intrinsic
def from_points(typingctx: Any, x: Any, x_step: Any, bias: Any, y: Any, y_step: Any, rows: Any, blocks: Any, rectified: Any) -> Any:  # fmt: skip  # noqa: ANN401
    """`memory.from_points`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        x, x_step, bias, y, y_step, rows, blocks, rectified = args
        w, b = _Writer(builder), builder
        with cgutils.for_range(b, blocks) as block:
            first = b.mul(block.index, _I64(SIDE))
            given = [w.load(w.at(x, b.add(first, b.mul(x_step, _I64(k))))) for k in range(len(POINTS) + 1)]  # fmt: skip
            start = w.load(w.at(bias, first))
            pairs = list(zip(given[1::2], given[2::2], strict=False))
            by_sign = [b.fadd(m, n) for m, n in pairs], [b.fsub(m, n) for m, n in pairs]
            for row in range(len(POINTS)):
                with b.if_then(b.icmp_signed("<", _I64(row), rows)):
                    is_last = b.icmp_signed("==", _I64(row + 1), rows)
                    value = b.fadd(start, b.select(is_last, given[-1], w.number(0.0)))
                    if row == 0:
                        value = b.fadd(value, given[0])
                    for point, part in zip(POINTS[1::2], by_sign[row % 2], strict=True):
                        value = w.scaled(point**row, part, value)
                    w.store(value, w.at(y, b.add(b.mul(y_step, _I64(row)), first)), rectified)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), code


@_intrinsic
def total(typingctx: Any, x: Any, x_step: Any, y: Any, rows: Any, blocks: Any) -> Any:  # noqa: ANN401
    """`memory.total`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        x, x_step, y, rows, blocks = args
        w, b = _Writer(builder), builder
        whole = b.sdiv(rows, _I64(LANES))
        with cgutils.for_range(b, blocks) as block:
            first = b.mul(block.index, _I64(SIDE))
            sums = [w.variable(w.number(0.0)) for _ in range(LANES)]
            with cgutils.for_range(b, whole) as group:
                for k in range(LANES):
                    row = b.add(b.mul(group.index, _I64(LANES)), _I64(k))
                    at = w.at(x, b.add(first, b.mul(x_step, row)))
                    b.store(b.fadd(b.load(sums[k]), w.load(at)), sums[k])
            with cgutils.for_range(b, b.srem(rows, _I64(LANES))) as left:
                row = b.add(b.mul(whole, _I64(LANES)), left.index)
                at = w.at(x, b.add(first, b.mul(x_step, row)))
                b.store(b.fadd(b.load(sums[0]), w.load(at)), sums[0])
            halves = [b.fadd(b.load(sums[k]), b.load(sums[k + 1])) for k in range(0, LANES, 2)]
            w.put(b.fadd(*halves), w.at(y, first))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), code


@_intrinsic
def largest(typingctx: Any, x: Any, blocks: Any) -> Any:  # noqa: ANN401
    """`memory.largest`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        x, blocks = args
        w, b = _Writer(builder), builder
        kind = ir.VectorType(_I32, SIDE)
        mask, most = ir.Constant(kind, [0x7FFFFFFF] * SIDE), w.variable(ir.Constant(kind, [0] * SIDE))  # fmt: skip
        with cgutils.for_range(b, blocks) as block:
            at = w.load(w.at(x, b.mul(block.index, _I64(SIDE))))
            value, now = b.and_(b.bitcast(at, kind), mask), b.load(most)
            b.store(b.select(b.icmp_signed(">", value, now), value, now), most)
        found: Any = _I32(0)
        for lane in range(SIDE):
            value = b.extract_element(b.load(most), _I32(lane))
            found = b.select(b.icmp_signed(">", value, found), value, found)
        return b.zext(found, _I64)

    return types.int64(types.int64, types.int64), code
