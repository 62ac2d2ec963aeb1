"""Second-order sections side by side in the lanes of a vector: the compiled form of `memory.cascade`.

A section waits for its own last result, so a cascade run row by row uses one lane of a vector unit
and waits most of the time. Here lane k holds section k and works on the row two before that of lane
k - 1, whose result it takes over (systolic pipelining; Kung, "Why systolic architectures?", IEEE
Computer 15(1), 1982). Each lane does the operations of the scalar form in their order, so the bits
are the same. Lanes without a row yet, or without one left, keep their state.

Importing this module imports Numba: only the cold path does.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from flowedge.compile.memory import SECTION_CONSTANTS, SECTION_STATE

_intrinsic: Callable[[Any], Any] = intrinsic

_I64, _I32, _I1, _F64 = ir.IntType(64), ir.IntType(32), ir.IntType(1), ir.DoubleType()
_APART = 2
"""Rows between neighbouring lanes: enough that no lane waits for the one before it."""


class _Lanes:
    """Writes the steps of `count` sections into a function."""

    def __init__(self, builder: Any, count: int, constants: Sequence[Any]) -> None:  # noqa: ANN401
        self.builder, self.count = builder, count
        self.kind = ir.VectorType(_F64, count)
        self.drained = _APART * (count - 1)
        """Rows that the last lane is behind the first."""
        self.nothing = ir.Constant(self.kind, [0.0] * count)
        self._constants = [
            self.gather(constants[j::SECTION_CONSTANTS]) for j in range(SECTION_CONSTANTS)
        ]
        shift = [0, *range(count - 1)]
        self._shift = ir.Constant(ir.VectorType(_I32, count), shift)

    def gather(self, values: Sequence[Any]) -> Any:  # noqa: ANN401
        """A vector of scalars."""
        out = self.nothing
        for k, value in enumerate(values):
            out = self.builder.insert_element(out, value, _I32(k))
        return out

    def last(self, vector: Any) -> Any:  # noqa: ANN401
        """The lane of the last section."""
        return self.builder.extract_element(vector, _I32(self.count - 1))

    def step(self, x: Any, held: Sequence[Any]) -> tuple[Any, ...]:  # noqa: ANN401
        """One row further: `held` is the state (u, newest, z), then the results of two rows ago and one."""
        b = self.builder
        u, newest, z, older, newer = held
        b0, b1, b2, a1, a2 = self._constants
        moved = b.shuffle_vector(older, self.nothing, self._shift)
        v = b.insert_element(moved, x, _I32(0))
        y = b.fsub(b.fadd(b.fmul(b0, v), u), b.fmul(a1, newest))
        return b.fadd(b.fmul(b1, v), z), y, b.fsub(b.fmul(b2, v), b.fmul(a2, y)), newer, y

    def step_some(self, x: Any, held: Sequence[Any], works: Sequence[bool]) -> tuple[Any, ...]:  # noqa: ANN401
        """The same, with lanes that keep their state."""
        mask = ir.Constant(ir.VectorType(_I1, self.count), [int(w) for w in works])
        new = self.step(x, held)
        kept = [self.builder.select(mask, n, h) for n, h in zip(new[:3], held[:3], strict=True)]
        return (*kept, *new[3:])


@_intrinsic
def cascade(typingctx: Any, x: Any, y: Any, rows: Any, state: Any, constants: Any) -> Any:  # noqa: ANN401
    """See `flowedge.compile.memory.cascade`."""
    sections = len(state) // SECTION_STATE
    signature = types.UniTuple(types.float64, len(state))(
        types.int64, types.int64, types.int64, types.UniTuple(types.float64, len(state)),
        types.UniTuple(types.float64, len(constants)),
    )  # fmt: skip

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        source = builder.inttoptr(args[0], _F64.as_pointer())
        target = builder.inttoptr(args[1], _F64.as_pointer())
        given = cgutils.unpack_tuple(builder, args[3], sections * SECTION_STATE)
        fixed = cgutils.unpack_tuple(builder, args[4], sections * SECTION_CONSTANTS)
        lanes = _Lanes(builder, sections, fixed)
        behind = lanes.drained
        held: tuple[Any, ...] = (
            *(lanes.gather(given[j::SECTION_STATE]) for j in range(SECTION_STATE)),
            lanes.nothing, lanes.nothing,
        )  # fmt: skip

        def at(pointer: Any, index: Any) -> Any:  # noqa: ANN401
            return builder.gep(pointer, [index])

        for j in range(behind):
            works = [j - _APART * k >= 0 for k in range(sections)]
            held = lanes.step_some(builder.load(at(source, _I64(j))), held, works)
        held = _all_lanes(
            builder, lanes, held, args[2], lambda i: at(source, i), lambda i: at(target, i)
        )
        for j in range(behind):
            works = [j - _APART * k < 0 for k in range(sections)]
            held = lanes.step_some(_F64(0.0), held, works)
            row = builder.add(args[2], _I64(j - behind))
            builder.store(lanes.last(held[4]), at(target, row))
        out = [
            builder.extract_element(held[j], _I32(k))
            for k in range(sections)
            for j in range(SECTION_STATE)
        ]
        return context.make_tuple(builder, signature.return_type, out)

    return signature, code


def _all_lanes(
    builder: Any,  # noqa: ANN401
    lanes: _Lanes,
    held: tuple[Any, ...],
    rows: Any,  # noqa: ANN401
    source: Callable[[Any], Any],
    target: Callable[[Any], Any],
) -> tuple[Any, ...]:
    """The loop in which every lane has a row."""
    behind = _I64(lanes.drained)
    before = builder.block
    loop, done = builder.append_basic_block("lanes"), builder.append_basic_block("drained")
    builder.cbranch(builder.icmp_signed("<", behind, rows), loop, done)
    builder.position_at_end(loop)
    i = builder.phi(_I64)
    i.add_incoming(behind, before)
    now = [builder.phi(lanes.kind) for _ in held]
    for phi, value in zip(now, held, strict=True):
        phi.add_incoming(value, before)
    new = lanes.step(builder.load(source(i)), now)
    builder.store(lanes.last(new[4]), target(builder.sub(i, behind)))
    following = builder.add(i, _I64(1))
    i.add_incoming(following, loop)
    for phi, value in zip(now, new, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, rows), loop, done)
    builder.position_at_end(done)
    out = []
    for first, last in zip(held, new, strict=True):
        phi = builder.phi(lanes.kind)
        phi.add_incoming(first, before)
        phi.add_incoming(last, loop)
        out.append(phi)
    return tuple(out)
