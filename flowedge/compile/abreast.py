"""Eight keys abreast: the type of a variable that holds a number of each, and what text does with it.

The same text that steps one key steps eight: `+` of two such variables adds eight pairs in one or two vector
instructions, each as it would be added alone, so the bits are the same. There are no branches: what
depends on a test of one key has no place here (`flowedge.compile.emit.abreast` leaves it out).

Importing this module imports Numba: only the cold path does.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

from flowedge.compile.memory import ABREAST

_intrinsic: Callable[[Any], Any] = intrinsic
_lowers: Callable[..., Any] = lower_builtin
_casts: Callable[..., Any] = lower_cast
_Type: Any = types.Type
_Template: Any = AbstractTemplate
_Model: Any = PrimitiveModel

_I64, _I32, _I1, _F64, _F32 = (
    ir.IntType(64), ir.IntType(32), ir.IntType(1), ir.DoubleType(), ir.FloatType()
)  # fmt: skip


class _Eight(_Type):  # type: ignore[misc]
    """A variable that holds eight of something; a plain number becomes eight of it."""

    of: Any

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:  # noqa: ANN401
        """Numbers of the kind, or below it."""
        return Conversion.promote if isinstance(other, self.of) else None


class Numbers(_Eight):
    """Eight float64."""

    of = types.Number


class Places(_Eight):
    """Eight int64."""

    of = types.Integer


class Marks(_Eight):
    """Eight truth values."""

    of = types.Boolean


numbers, places, marks = Numbers("eight numbers"), Places("eight places"), Marks("eight marks")
_ITEMS = {numbers: (types.float64, _F64), places: (types.int64, _I64), marks: (types.boolean, _I1)}
_VECTORS = {kind: ir.VectorType(item, ABREAST) for kind, (_, item) in _ITEMS.items()}


def _model(kind: Any) -> Any:  # noqa: ANN401
    vector = _VECTORS[kind]

    class Model(_Model):  # type: ignore[misc]
        def __init__(self, dmm: Any, fe_type: Any) -> None:  # noqa: ANN401
            super().__init__(dmm, fe_type, vector)

    return Model


for _kind in _VECTORS:
    register_model(type(_kind))(_model(_kind))


def _cast_to(kind: Any) -> None:  # noqa: ANN401
    item = _ITEMS[kind][0]

    def cast(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:  # noqa: ANN401
        return _all(builder, context.cast(builder, value, source, item), _VECTORS[kind])

    _casts(kind.of, kind)(cast)


def _all(builder: Any, value: Any, kind: Any) -> Any:  # noqa: ANN401
    """A vector that holds a value in every lane."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, value, _I32(0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(_I32, ABREAST), [0] * ABREAST)
    )


for _kind in (numbers, places):
    _cast_to(_kind)


def _teach(name: Any, arity: int, kind: Any, result: Any, make: Callable[..., Any]) -> None:  # noqa: ANN401
    """Say what an operator or function does with eights; a plain number among its arguments becomes eight."""

    class Template(_Template):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:  # noqa: ANN401
            if kws or len(args) != arity or kind not in args:
                return None
            if not all(a is kind or isinstance(a, kind.of) for a in args):
                return None
            return signature(result, *[kind] * arity)

    infer_global(name)(Template)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        return make(builder, *args)

    _lowers(name, *[kind] * arity)(lower)


def _call(function: str) -> Callable[[Any, Any], Any]:
    def make(builder: Any, value: Any) -> Any:  # noqa: ANN401
        kind = ir.FunctionType(value.type, [value.type])
        found = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.{function}.v{ABREAST}f64"
        )
        return builder.call(found, [value])

    return make


for _name, _make in (
    (operator.add, lambda b, x, y: b.fadd(x, y)),
    (operator.sub, lambda b, x, y: b.fsub(x, y)),
    (operator.mul, lambda b, x, y: b.fmul(x, y)),
    (operator.truediv, lambda b, x, y: b.fdiv(x, y)),
):
    _teach(_name, 2, numbers, numbers, _make)
for _name, _sign in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
):  # fmt: skip
    _teach(_name, 2, numbers, marks, lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y))
_teach(operator.neg, 1, numbers, numbers, lambda b, x: b.fneg(x))
for _magnitude in (abs, math.fabs):
    _teach(_magnitude, 1, numbers, numbers, _call("fabs"))
_teach(math.sqrt, 1, numbers, numbers, _call("sqrt"))
for _name, _make in (
    (operator.add, lambda b, x, y: b.add(x, y)),
    (operator.sub, lambda b, x, y: b.sub(x, y)),
    (operator.mul, lambda b, x, y: b.mul(x, y)),
):
    _teach(_name, 2, places, places, _make)
_teach(operator.and_, 2, marks, marks, lambda b, x, y: b.and_(x, y))


def _address(builder: Any, address: Any, index: Any, size: int) -> Any:  # noqa: ANN401
    return builder.add(address, builder.mul(index, index.type(size)))


def _load_row(item: Any, kind: Any, widen: Callable[[Any, Any], Any] | None) -> Any:  # noqa: ANN401
    size = 4 if item is _F32 else 8

    @_intrinsic
    def load(typingctx: Any, address: Any, index: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            at = builder.inttoptr(
                _address(builder, args[0], args[1], size), ir.VectorType(item, ABREAST).as_pointer()
            )
            value = builder.load(at, align=size)
            return value if widen is None else widen(builder, value)

        return kind(types.int64, types.int64), code

    return load


def _store_row(item: Any, kind: Any, narrow: Callable[[Any, Any], Any] | None) -> Any:  # noqa: ANN401
    size = 4 if item is _F32 else 8

    @_intrinsic
    def store(typingctx: Any, address: Any, index: Any, value: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            new = args[2] if narrow is None else narrow(builder, args[2])
            at = builder.inttoptr(_address(builder, args[0], args[1], size), new.type.as_pointer())
            builder.store(new, at, align=size)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), code

    return store


def _load_each(item: Any, kind: Any) -> Any:  # noqa: ANN401
    @_intrinsic
    def load(typingctx: Any, address: Any, index: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            out = ir.Constant(_VECTORS[kind], ir.Undefined)
            for lane, at in _pointers(builder, args[0], args[1], item):
                out = builder.insert_element(out, builder.load(at), lane)
            return out

        return kind(places, places), code

    return load


def _store_each(item: Any, kind: Any) -> Any:  # noqa: ANN401
    @_intrinsic
    def store(typingctx: Any, address: Any, index: Any, value: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            for lane, at in _pointers(builder, args[0], args[1], item):
                builder.store(builder.extract_element(args[2], lane), at)
            return context.get_dummy_value()

        return types.void(places, places, kind), code

    return store


def _pointers(builder: Any, address: Any, index: Any, item: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """For each lane its number and a pointer."""
    at = builder.add(address, builder.mul(index, ir.Constant(index.type, [8] * ABREAST)))
    lanes = [_I32(k) for k in range(ABREAST)]
    return [(k, builder.inttoptr(builder.extract_element(at, k), item.as_pointer())) for k in lanes]


@_intrinsic
def _all_true(typingctx: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        return ir.Constant(_VECTORS[marks], [1] * ABREAST)

    return marks(), code


@_intrinsic
def _are_all(typingctx: Any, value: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        bits = builder.bitcast(args[0], ir.IntType(ABREAST))
        return builder.zext(builder.icmp_unsigned("==", bits, bits.type(2**ABREAST - 1)), _I64)

    return types.int64(marks), code


NAMES: dict[str, Any] = {
    "f64_row": _load_row(_F64, numbers, None),
    "f32_row": _load_row(_F32, numbers, lambda b, v: b.fpext(v, _VECTORS[numbers])),
    "i64_row": _load_row(_I64, places, None),
    "set_f64_row": _store_row(_F64, numbers, None),
    "set_f32_row": _store_row(
        _F32, numbers, lambda b, v: b.fptrunc(v, ir.VectorType(_F32, ABREAST))
    ),
    "f64_each": _load_each(_F64, numbers),
    "i64_each": _load_each(_I64, places),
    "set_f64_each": _store_each(_F64, numbers),
    "set_i64_each": _store_each(_I64, places),
    "all_true": _all_true,
    "are_all": _are_all,
}
"""The intrinsics by the names of their twins in `flowedge.compile.memory`."""
