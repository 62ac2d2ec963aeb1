"""What the names of `flowedge.compile.memory` become in compiled code: one or two instructions each.

No array is typed and nothing of Numba's runtime is needed, which keeps compile times low and the
object code free of foreign symbols. Importing this module imports Numba: only the cold path does.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from flowedge.compile import abreast, memory
from flowedge.compile.lanes import cascade
from flowedge.compile.tiles import from_points, largest, panel, to_points, total

_intrinsic: Callable[[Any], Any] = intrinsic

_I64, _I32, _I8 = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_F64, _F32 = ir.DoubleType(), ir.FloatType()


def _cast(context: Any, builder: Any, signature: Any, args: Any, *kinds: Any) -> list[Any]:  # noqa: ANN401
    return [
        context.cast(builder, a, t, k) for a, t, k in zip(args, signature.args, kinds, strict=True)
    ]


def _pointer(builder: Any, address: Any, index: Any, kind: Any) -> Any:  # noqa: ANN401
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [index])


def _loader(kind: Any, result: Any, widen: Callable[[Any, Any], Any] | None) -> Any:  # noqa: ANN401
    @_intrinsic
    def load(typingctx: Any, address: Any, index: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            address, index = _cast(context, builder, signature, args, types.int64, types.int64)
            value = builder.load(_pointer(builder, address, index, kind))
            return value if widen is None else widen(builder, value)

        return result(address, index), code

    return load


def _storer(kind: Any, wide: Any, narrow: Callable[[Any, Any], Any] | None) -> Any:  # noqa: ANN401
    @_intrinsic
    def store(typingctx: Any, address: Any, index: Any, value: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            address, index, value = _cast(
                context, builder, signature, args, types.int64, types.int64, wide
            )
            if narrow is not None:
                value = narrow(builder, value)
            builder.store(value, _pointer(builder, address, index, kind))
            return context.get_dummy_value()

        return types.void(address, index, value), code

    return store


def _unary(
    source: Any,  # noqa: ANN401
    result: Any,  # noqa: ANN401
    make: Callable[[Any, Any], Any],
) -> Any:  # noqa: ANN401
    @_intrinsic
    def run(typingctx: Any, value: Any) -> Any:  # noqa: ANN401
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            (value,) = _cast(context, builder, signature, args, source)
            out = make(builder, value)
            return context.get_dummy_value() if out is None else out

        return result(value), code

    return run


def _sext(builder: Any, value: Any) -> Any:  # noqa: ANN401
    return builder.sext(value, _I64)


def _zext(builder: Any, value: Any) -> Any:  # noqa: ANN401
    return builder.zext(value, _I64)


def _trunc(width: int) -> Callable[[Any, Any], Any]:
    return lambda builder, value: builder.trunc(value, ir.IntType(width))


def _unaligned(kind: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    def make(builder: Any, address: Any) -> Any:  # noqa: ANN401
        value = builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)
        return value if kind.width == 64 else builder.zext(value, _I64)

    return make


def _prefetch(builder: Any, address: Any) -> None:  # noqa: ANN401
    pointer = _I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    # read, keep near, data
    builder.call(function, [builder.inttoptr(address, pointer), _I32(0), _I32(3), _I32(1)])


def _array(dtype: Any) -> Any:  # noqa: ANN401
    @_intrinsic
    def view(typingctx: Any, address: Any, length: Any) -> Any:  # noqa: ANN401
        kind = types.Array(dtype, 1, "C")

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            address, length = _cast(context, builder, signature, args, types.int64, types.int64)
            array = cgutils.create_struct_proxy(kind)(context, builder)
            item = context.get_constant(types.intp, 8)
            array.data = builder.inttoptr(address, context.get_value_type(dtype).as_pointer())
            array.shape = cgutils.pack_array(builder, [length])
            array.strides = cgutils.pack_array(builder, [item])
            array.itemsize, array.nitems = item, length
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()  # noqa: SLF001  # the only way Numba offers

        return kind(address, length), code

    return view


@_intrinsic
def _copy(typingctx: Any, target: Any, source: Any, size: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        target, source, size = _cast(
            context, builder, signature, args, types.int64, types.int64, types.int64
        )
        byte = _I8.as_pointer()
        cgutils.raw_memcpy(
            builder,
            builder.inttoptr(target, byte),
            builder.inttoptr(source, byte),
            size,
            1,
            align=1,
        )
        return context.get_dummy_value()

    return types.void(target, source, size), code


@_intrinsic
def _fold(typingctx: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        a, b = _cast(context, builder, signature, args, types.int64, types.int64)
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
        high = builder.lshr(product, wide(64))
        return builder.trunc(builder.xor(product, high), _I64)

    return types.int64(a, b), code


@_intrinsic
def _high(typingctx: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        a, b = _cast(context, builder, signature, args, types.int64, types.int64)
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
        return builder.trunc(builder.lshr(product, wide(64)), _I64)

    return types.int64(a, b), code


@_intrinsic
def _set_word(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ANN401
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
        address, value = _cast(context, builder, signature, args, types.int64, types.int64)
        builder.store(value, builder.inttoptr(address, _I64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(address, value), code


_FLOAT = types.float64
_INT = types.int64

NAMES: dict[str, Any] = {
    "f64": _loader(_F64, _FLOAT, None),
    "f32": _loader(_F32, _FLOAT, lambda b, v: b.fpext(v, _F64)),
    "i64": _loader(_I64, _INT, None),
    "u64": _loader(_I64, _INT, None),
    "i32": _loader(_I32, _INT, _sext),
    "i16": _loader(ir.IntType(16), _INT, _sext),
    "i8": _loader(_I8, _INT, _sext),
    "u32": _loader(_I32, _INT, _zext),
    "u16": _loader(ir.IntType(16), _INT, _zext),
    "u8": _loader(_I8, _INT, _zext),
    "set_f64": _storer(_F64, _FLOAT, None),
    "set_f32": _storer(_F32, _FLOAT, lambda b, v: b.fptrunc(v, _F32)),
    "set_i64": _storer(_I64, _INT, None),
    "set_u64": _storer(_I64, _INT, None),
    "set_i32": _storer(_I32, _INT, _trunc(32)),
    "set_u32": _storer(_I32, _INT, _trunc(32)),
    "set_i16": _storer(ir.IntType(16), _INT, _trunc(16)),
    "set_u16": _storer(ir.IntType(16), _INT, _trunc(16)),
    "set_i8": _storer(_I8, _INT, _trunc(8)),
    "set_u8": _storer(_I8, _INT, _trunc(8)),
    "word": _unary(_INT, _INT, _unaligned(_I64)),
    "set_word": _set_word,
    "half": _unary(_INT, _INT, _unaligned(_I32)),
    "swap": _unary(_INT, _INT, lambda b, v: b.bswap(v)),
    "fold": _fold,
    "high": _high,
    "wrap": _unary(_INT, _INT, lambda _, v: v),
    "zeros": _unary(_INT, _INT, lambda b, v: b.ctlz(v, ir.IntType(1)(0))),
    "bits": _unary(_FLOAT, _INT, lambda b, v: b.bitcast(v, _I64)),
    "real": _unary(_INT, _FLOAT, lambda b, v: b.bitcast(v, _F64)),
    "prefetch": _unary(_INT, types.void, _prefetch),
    "array_f64": _array(_FLOAT),
    "array_i64": _array(_INT),
    "copy": _copy,
    "cascade": cascade,
    "panel": panel,
    "to_points": to_points,
    "from_points": from_points,
    "total": total,
    "largest": largest,
    **abreast.NAMES,
}
"""The intrinsics by the names of their twins in `flowedge.compile.memory`."""

BY_TWIN: dict[Any, Any] = {twin: NAMES[name] for name, twin in memory.NAMES.items()}
"""The intrinsic that stands for a twin in compiled code."""
