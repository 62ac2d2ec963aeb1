"""From the source of a kernel to object code, and from object code to a function.

`build` needs Numba; `load` needs only llvmlite, takes about 3 ms, and refuses what it has not
verified: LLVM crashes on a damaged object at once, and on a symbol that is not there when it is
called. Object code therefore travels sealed: magic, sha256, ELF bytes.
"""

import contextlib
import ctypes
import gc
import hashlib
import inspect
import math
import os
import re
import struct
import sys
import time
import types as python
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from flowedge.cache import Cache, default_cache
from flowedge.compile import memory
from flowedge.lang.errors import InternalError

LIBM = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf",
    "erfc", "exp", "exp2", "expm1", "fabs", "floor", "fmod", "hypot", "lgamma", "log", "log10", "log1p", "log2",
    "memcpy", "memmove", "memset", "nearbyint", "pow", "rint", "round", "sin", "sincos", "sinh", "sqrt", "tan",
    "tanh", "tgamma", "trunc",
})  # fmt: skip
"""What object code may call: the C library's mathematics and memory."""

FORMAT = "kernel 2"
"""Part of every key: another number forgets all object code made before."""

_MAGIC = b"FLOWOBJ1"
_SEAL = len(_MAGIC) + 32
_ENGINES: list[Any] = []
"""Engines are kept for ever: code whose engine is gone crashes when called."""
_LOADED: dict[tuple[bytes, str], "Kernel"] = {}
_CONSTANTS = {"nan": math.nan, "inf": math.inf}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A loaded kernel: call it with the address of its context, get its status.

    Kernels hold no state of their own, so that one may be shared by sessions and threads.
    """

    run: Callable[[Any, Any, int], int]
    _excinfo: Any

    def __call__(self, context: int) -> int:
        """Run until the kernel returns; other threads may run Python meanwhile.

        Parameters
        ----------
        context : address of the int64 words that the kernel reads its arguments from

        Raises
        ------
        InternalError
            the compiled code reports an exception
        """
        return self.bound(context)()

    def bound(self, context: int) -> Callable[[], int]:
        """The call with one context, for whoever makes it often; not for several threads at once."""
        out, run, excinfo = ctypes.c_int64(), self.run, self._excinfo
        result = ctypes.byref(out)

        def call() -> int:
            status = run(result, excinfo, context)
            if status != 0:
                raise InternalError("a kernel raised", expected="status 0", seen=str(status))
            return out.value

        return call


# ---- what the object code depends on


@cache
def machine() -> tuple[str, str]:
    """Name and features of the processor that code is made for: part of every key.

    It is this one, or what Numba is told to compile for: ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``.
    """
    told = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None and told != "generic":
        # Where the platform does not tell, the name decides.
        with contextlib.suppress(RuntimeError):
            features = llvm.get_host_cpu_features().flatten()
    return told or llvm.get_host_cpu_name(), features or ""


@cache
def versions() -> tuple[str, ...]:
    """Versions of all that makes object code, found without importing Numba."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        own = version("flowedge")
    except PackageNotFoundError:  # run from a checkout
        own = "unknown"
    compiler = hashlib.sha256()
    for name in _COMPILER:
        with contextlib.suppress(OSError):
            compiler.update(Path(__file__).with_name(name).read_bytes())
    return FORMAT, own, compiler.hexdigest(), version("numba"), llvmlite.__version__, np.__version__, sys.version  # fmt: skip


_COMPILER = ("frontend.py", "intrinsics.py", "lanes.py", "memory.py", "tiles.py")
"""Files whose text is in object code, and not in that of any kernel."""


def fingerprint(source: str, names: Mapping[str, object], entry: str = "kernel") -> str:
    """A digest of all that the object code of a kernel depends on.

    That is its text, the functions and constants that it names, the modules that those functions
    and their helpers stand in, the versions of what compiles them, and the processor.
    """
    digest = hashlib.sha256()
    for part in (*versions(), *machine(), entry, source):
        digest.update(part.encode() + b"\0")
    seen: set[object] = set()
    for name in sorted(names):
        for text in _texts(names[name], seen):
            digest.update(f"{name}={text}".encode() + b"\0")
    return digest.hexdigest()


def _texts(value: object, seen: set[object]) -> Iterator[str]:
    """All text that decides what a value means in a kernel."""
    if not inspect.isfunction(value):
        if isinstance(value, np.ndarray):
            yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
            return
        yield repr(value) if isinstance(value, int | float | str | tuple) else type(value).__name__
        return
    if value in seen or memory.NAMES.get(value.__name__) is value:
        return
    seen.add(value)
    yield f"{value.__module__}.{value.__qualname__} {value.__defaults__}"
    module = inspect.getmodule(value)
    if module not in seen:
        seen.add(module)
        yield _module_text(module, value)
    for cell in value.__closure__ or ():
        yield from _texts(cell.cell_contents, seen)
    for name in value.__code__.co_names:
        if name in value.__globals__:
            yield name
            yield from _texts(value.__globals__[name], seen)


def _module_text(module: python.ModuleType | None, run: python.FunctionType) -> str:
    try:
        return inspect.getsource(run if module is None else module)
    except (OSError, TypeError):  # no file: made by exec, or in an interactive session
        code = run.__code__
        return f"{code.co_code.hex()} {code.co_consts} {code.co_names}"


# ---- compiling


def build(source: str, names: Mapping[str, object], entry: str = "kernel") -> bytes:
    """Compile the source of a kernel to position-independent object code.

    Parameters
    ----------
    source : Python text that defines ``entry(ctx)``, see `flowedge.compile.program`
    names : functions and constants that it calls by name; plain functions are compiled too, those
        of `flowedge.compile.memory` become intrinsics and need not be listed
    entry : name of the function in the text, and of the symbol in the object code

    Returns
    -------
    bytes
        sealed object code whose only visible symbol is `entry`

    Raises
    ------
    InternalError
        the code needs a symbol outside `LIBM`, or does not compile
    """
    with _collecting_later():
        module, target = _compile(source, names, entry)
        return seal(target.emit_object(module))


@contextlib.contextmanager
def _collecting_later() -> Iterator[None]:
    """No search for garbage while Numba makes its many small objects, which live about as long: it takes a sixth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def assembly(source: str, names: Mapping[str, object], entry: str = "kernel") -> str:
    """The machine code of a kernel as text, for people who look at what the compiler made."""
    module, target = _compile(source, names, entry)
    return str(target.emit_assembly(module))


def compiled(
    source: str, names: Mapping[str, object], entry: str = "kernel", store: Cache | None = None
) -> bytes:
    """The sealed object code of a kernel, from the cache if it is there, else built and kept.

    Parameters
    ----------
    source, names, entry : as for `build`
    store : the cache; the user's own one by default
    """
    store = default_cache() if store is None else store
    key = fingerprint(source, names, entry)
    found = kept(key, store)
    if found is not None:
        return found
    start = time.perf_counter()
    code = build(source, names, entry)
    store.statistics.compile_s += time.perf_counter() - start
    store.put("objects", key, code)
    return code


def kept(key: str, store: Cache) -> bytes | None:
    """Sealed object code out of the cache, None if it is not there."""
    found = store.get("objects", key)
    return found if found is not None and is_sealed(found) else None


def interpreted(
    source: str, names: Mapping[str, object], entry: str = "kernel"
) -> Callable[[int], int]:
    """The kernel as plain Python: slow, but a debugger can step through it."""
    scope: dict[str, Any] = {**memory.NAMES, **_CONSTANTS}
    for name, value in names.items():
        scope[name] = _with_memory(value, {}) if inspect.isfunction(value) else value
    exec(compile(source, f"<{entry}>", "exec"), scope)  # noqa: S102  # our own generated text
    return scope[entry]


def _with_memory(run: python.FunctionType, done: dict[object, Any]) -> Any:  # noqa: ANN401
    """A copy of a function that finds the names of `memory` although its module lacks them."""
    if run in done:
        return done[run]
    scope = {**memory.NAMES, **run.__globals__}
    done[run] = _copy(run, scope)
    for name in run.__code__.co_names:
        value = scope.get(name)
        if inspect.isfunction(value) and memory.NAMES.get(name) is not value:
            scope[name] = _with_memory(value, done)
    return done[run]


def _copy(run: python.FunctionType, scope: dict[str, Any]) -> python.FunctionType:
    return python.FunctionType(run.__code__, scope, run.__name__, run.__defaults__, run.__closure__)


def _compile(source: str, names: Mapping[str, object], entry: str) -> tuple[Any, Any]:
    """The final module of a kernel, with all but the kernel hidden, and the target machine."""
    # Intel's vector maths would make results depend on whether a library is installed.
    os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")
    from numba import njit  # noqa: PLC0415
    from numba.core.errors import NumbaError  # noqa: PLC0415

    from flowedge.compile import intrinsics  # noqa: PLC0415
    from flowedge.compile.frontend import ADDRESS_TO_STATUS, KernelCompiler, linked  # noqa: PLC0415

    scope: dict[str, Any] = {**intrinsics.NAMES, **_CONSTANTS}
    for name, value in names.items():
        scope[name] = jitted(value) if inspect.isfunction(value) else value
    exec(compile(source, f"<{entry}>", "exec"), scope)  # noqa: S102  # our own generated text
    try:
        run = njit(
            ADDRESS_TO_STATUS,
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            error_model="numpy",
            pipeline_class=KernelCompiler,
        )(scope[entry])
    except NumbaError as error:
        raise InternalError(f"kernel `{entry}` does not compile: {error}") from error
    (found,) = run.overloads.values()
    symbol = found.fndesc.llvm_func_name
    text = str(linked(found.library))
    module = llvm.parse_assembly(
        _DESTRUCTOR.sub(r"define internal void @NRT_MemInfo_call_dtor(\1) { ret void }", text)
    )
    for function in module.functions:
        if function.is_declaration:
            continue
        if function.name == symbol:
            function.linkage = llvm.Linkage.external
            function.name = entry
        else:
            function.linkage = llvm.Linkage.internal
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = llvm.Linkage.internal
    target = _target()
    passes = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=2))
    manager = llvm.create_new_module_pass_manager()
    manager.add_global_dead_code_eliminate_pass()
    manager.run(module, passes)
    return module, target


def _target() -> Any:  # noqa: ANN401
    _start()
    cpu, features = machine()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default"
    )


_DESTRUCTOR = re.compile(r"declare void @NRT_MemInfo_call_dtor\(([^)]*)\)[^\n]*")
"""Arrays over raw memory have no owner, so that what Numba would call to free one never runs."""

_JITTED: dict[object, Any] = {}


def jitted(run: Callable[..., Any]) -> Any:  # noqa: ANN401
    """A plain function compiled for calls from kernels, with the helpers that it names.

    Each function is compiled once: distinct ones cost about 40 ms each.
    """
    from numba import njit  # noqa: PLC0415

    from flowedge.compile import intrinsics  # noqa: PLC0415
    from flowedge.compile.frontend import KernelCompiler  # noqa: PLC0415

    if run in intrinsics.BY_TWIN:
        return intrinsics.BY_TWIN[run]
    if run in _JITTED:
        if _JITTED[run] is None:
            raise InternalError(
                f"`{run.__name__}` calls itself", expected="no recursion in kernels"
            )
        return _JITTED[run]
    if not inspect.isfunction(run):
        raise InternalError("a kernel calls something else than a function", seen=repr(run))
    _JITTED[run] = None
    scope = {**intrinsics.NAMES, **run.__globals__}
    for name in run.__code__.co_names:
        if inspect.isfunction(scope.get(name)):
            scope[name] = jitted(scope[name])
    _JITTED[run] = njit(
        error_model="numpy",
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        pipeline_class=KernelCompiler,
    )(_copy(run, scope))
    return _JITTED[run]


# ---- loading


def seal(code: bytes) -> bytes:
    """Object code with its digest in front; refuses code that calls what it may not.

    Raises
    ------
    InternalError
        not ELF object code, or it needs a symbol outside `LIBM`
    """
    _check_symbols(code)
    return _MAGIC + hashlib.sha256(code).digest() + code


def is_sealed(sealed: bytes) -> bool:
    """Whether bytes are object code that carries its digest."""
    return (
        sealed.startswith(_MAGIC)
        and len(sealed) > _SEAL
        and hashlib.sha256(sealed[_SEAL:]).digest() == sealed[len(_MAGIC) : _SEAL]
    )


def load(sealed: bytes, entry: str = "kernel") -> Kernel:
    """A callable kernel from sealed object code; the same one for the same bytes.

    Raises
    ------
    InternalError
        the bytes are damaged, need a symbol outside `LIBM`, or do not contain `entry`
    """
    known = _LOADED.get((sealed, entry))
    if known is not None:
        return known
    if not is_sealed(sealed):
        raise InternalError("object code is damaged", expected="its digest", seen=sealed[:8].hex())
    code = sealed[_SEAL:]
    defined = _check_symbols(code)
    if entry not in defined:
        raise InternalError(
            "object code", expected=f"a function `{entry}`", seen=", ".join(defined)
        )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    excinfo = ctypes.c_void_p()
    kernel = Kernel(kind(engine.get_function_address(entry)), ctypes.byref(excinfo))
    _ENGINES.append(engine)
    _LOADED[sealed, entry] = kernel
    return kernel


@cache
def _start() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _check_symbols(code: bytes) -> set[str]:
    """Names that object code defines; raises InternalError if it needs one outside `LIBM`."""
    try:
        defined, undefined = _symbols(code)
    except (struct.error, ValueError, IndexError) as error:
        raise InternalError(
            "not object code", expected="64-bit ELF", seen=code[:4].hex()
        ) from error
    foreign = undefined - LIBM
    if foreign:
        raise InternalError(
            "a kernel calls what it may not",
            expected="the C library's mathematics",
            seen=", ".join(sorted(foreign)),
        )
    return defined


def _symbols(code: bytes) -> tuple[set[str], set[str]]:
    """Global names that a 64-bit little-endian ELF object defines, and those that it needs.

    Layout after System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+).
    """
    if code[:6] != b"\x7fELF\x02\x01":
        raise ValueError
    (sections_at,) = struct.unpack_from("<Q", code, 40)
    width, count = struct.unpack_from("<HH", code, 58)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", code, sections_at + k * width) for k in range(count)
    ]
    defined: set[str] = set()
    undefined: set[str] = set()
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        names_at = sections[section[6]][4]
        for place in range(section[4], section[4] + section[5], 24):
            name_at, info, _, index = struct.unpack_from("<IBBH", code, place)
            if not name_at or info >> 4 == 0:  # STB_LOCAL
                continue
            first = names_at + name_at
            name = code[first : code.index(b"\0", first)].decode()
            (defined if index else undefined).add(name)
    return defined, undefined
