"""A tile of a convolution in the registers of a vector unit: the compiled form of `memory.tile_24` and `memory.tile_8`.

Four channels of the result over 24 samples (or 8) are held in twelve (four) vectors of eight float32 while all channels and taps
are gone through: of sixteen registers twelve hold sums, three samples, and one a weight; for twelve multiplications there
are seven loads, which a core does beside them (the micro-kernel of Goto and van de Geijn, "Anatomy of high-performance
matrix multiplication", ACM TOMS 34(3), 2008, for a matrix that is never laid out). Multiplication and addition are one
operation where the processor has it.

Importing this module imports Numba: only the cold path does.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from flowedge.compile.memory import TILE_CHANNELS

_intrinsic: Callable[[Any], Any] = intrinsic

_I64, _I32, _F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
_LANES = 8
_VECTOR = ir.VectorType(_F32, _LANES)


class _Tile:
    """Writes one tile into a function."""

    def __init__(self, builder: Any, vectors: int) -> None:  # noqa: ANN401
        self.builder, self.vectors = builder, vectors
        self._all = ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES)

    def pointer(self, address: Any, index: Any) -> Any:  # noqa: ANN401
        """Of an element."""
        base = self.builder.inttoptr(address, _F32.as_pointer())
        return self.builder.gep(base, [index])

    def spread(self, value: Any) -> Any:  # noqa: ANN401
        """A number in all lanes."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(undefined, value, _I32(0))
        return self.builder.shuffle_vector(one, undefined, self._all)

    def samples(self, address: Any, index: Any) -> list[Any]:  # noqa: ANN401
        """The vectors from an element on, at any address."""
        b = self.builder
        out = []
        for v in range(self.vectors):
            at = self.pointer(address, b.add(index, _I64(_LANES * v)))
            out.append(b.load(b.bitcast(at, _VECTOR.as_pointer()), align=4))
        return out

    def weights(self, address: Any, index: Any) -> list[Any]:  # noqa: ANN401
        """Those of four channels, each in all lanes."""
        b = self.builder
        at = [self.pointer(address, b.add(index, _I64(c))) for c in range(TILE_CHANNELS)]
        return [self.spread(b.load(p, align=4)) for p in at]

    def times(self, a: Any, b: Any, c: Any) -> Any:  # noqa: ANN401
        """A · b + c, as one operation where there is one."""
        product = self.builder.fmul(a, b, flags=("contract",))
        return self.builder.fadd(product, c, flags=("contract",))


def _tile(vectors: int) -> Any:  # noqa: ANN401
    @_intrinsic
    def tile(typingctx: Any, x: Any, x_step: Any, channels: Any, taps: Any, dilation: Any, w: Any, bias: Any, y: Any, y_step: Any, rectified: Any) -> Any:  # fmt: skip  # noqa: ANN401
        signature = types.void(*[types.int64] * 10)

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            x, x_step, channels, taps, dilation, w, bias, y, y_step, rectified = args
            t, b = _Tile(builder, vectors), builder
            sums = [one for c in t.weights(bias, _I64(0)) for one in [c] * vectors]
            start = b.block
            outer, inner = b.append_basic_block("channel"), b.append_basic_block("tap")
            after, done = b.append_basic_block("next"), b.append_basic_block("store")
            b.branch(outer)

            b.position_at_end(outer)
            channel, row, weight = b.phi(_I64), b.phi(_I64), b.phi(_I64)
            held = [b.phi(_VECTOR) for _ in sums]
            for phi, value in ((channel, _I64(0)), (row, _I64(0)), (weight, _I64(0)), *zip(held, sums, strict=True)):  # fmt: skip
                phi.add_incoming(value, start)
            b.branch(inner)

            b.position_at_end(inner)
            tap, at, of = b.phi(_I64), b.phi(_I64), b.phi(_I64)
            now = [b.phi(_VECTOR) for _ in sums]
            for phi, value in ((tap, _I64(0)), (at, row), (of, weight), *zip(now, held, strict=True)):  # fmt: skip
                phi.add_incoming(value, outer)
            samples, weights = t.samples(x, at), t.weights(w, of)
            new = [
                t.times(weights[c], samples[v], now[c * vectors + v])
                for c in range(TILE_CHANNELS)
                for v in range(vectors)
            ]
            following, later = b.add(tap, _I64(1)), b.add(of, _I64(TILE_CHANNELS))
            for phi, value in ((tap, following), (at, b.add(at, dilation)), (of, later), *zip(now, new, strict=True)):  # fmt: skip
                phi.add_incoming(value, inner)
            b.cbranch(b.icmp_signed("<", following, taps), inner, after)

            b.position_at_end(after)
            behind = b.add(channel, _I64(1))
            for phi, value in ((channel, behind), (row, b.add(row, x_step)), (weight, later), *zip(held, new, strict=True)):  # fmt: skip
                phi.add_incoming(value, after)
            b.cbranch(b.icmp_signed("<", behind, channels), outer, done)

            b.position_at_end(done)
            nothing = ir.Constant(_VECTOR, [0.0] * _LANES)
            limits = b.icmp_signed("!=", rectified, _I64(0))
            for number, value in enumerate(new):
                c, v = divmod(number, vectors)
                is_below = b.fcmp_ordered("<", value, nothing)
                kept = b.select(limits, b.select(is_below, nothing, value), value)
                place = b.add(b.mul(y_step, _I64(c)), _I64(_LANES * v))
                target = b.bitcast(t.pointer(y, place), _VECTOR.as_pointer())
                b.store(kept, target, align=4)
            return context.get_dummy_value()

        return signature, code

    return tile


tile_24, tile_8 = _tile(3), _tile(1)
