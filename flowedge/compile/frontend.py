"""Numba as a front end alone: Python text to LLVM's intermediate form, and no machine code.

Numba compiles each function for the process at hand as soon as it is typed. Kernels are compiled to
object files instead, once, with all their helpers inlined; so machine code of every helper, and of
the kernel itself, would be made only to be thrown away: a fifth of the time of a cold start. Passes that
find nothing in our text (it has no closures, no `with`, no array expressions) are left out, and what a call of a
builtin with given types means is asked once in a process.

This module alone knows Numba's compiler classes (`numba.core.compiler`, documented under "Customizing
the compiler"); importing it imports Numba.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.core.typing.context import Context

_Library: Any = JITCodeLibrary
_Lowering: Any = NativeLowering
_Compiler: Any = CompilerBase
_Typing: Any = Context

_NOT_NEEDED = frozenset({
    "annotate_types", "dump_parfor_diagnostics", "find_literally", "inline_closure_likes", "inline_inlinables",
    "inline_overloads", "literal_unroll", "LiteralPropagation", "make_function_op_code_to_jit_function", "nopython_rewrites", "with_lifting",
})  # fmt: skip
"""Passes, by their names in Numba, for what our text does not have."""
_SCALARS = (types.Number, types.Boolean, types.Literal)


class _TextLibrary(_Library):  # type: ignore[misc]
    """A library that ends as an optimised module, and is not given to the engine of this process."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LoweringToText(_Lowering):  # type: ignore[misc]
    """Lowers a function, and makes it known to those that call it."""

    _name = "flowedge_lowering"

    def __init__(self) -> None:
        _Lowering.__init__(self)

    def run_pass(self, state: Any) -> bool:  # noqa: ANN401
        """Lower one typed function."""
        state.library = _TextLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        changed: bool = _Lowering.run_pass(self, state)
        state.library.finalize()
        lowered = state["cr"]
        known_by = _stand_in(lowered.fndesc.qualname)
        state.targetctx.insert_user_function(known_by, lowered.fndesc, [state.library])
        state.reload_init.extend(state.library._reload_init)  # noqa: SLF001  # as Numba's own pass does
        state["cr"] = lowered._replace(cfunc=known_by)
        return changed


def _stand_in(name: str) -> Callable[..., None]:
    """What a dispatcher keeps in place of a compiled function, which it wants to be a builtin of its own.

    Nobody calls it: compiled code calls by symbol, and Python code calls the plain function.
    """
    return [name].append


class _RememberingTyping(_Typing):  # type: ignore[misc]
    """Numba's typing context, all of whose state it shares; it knows what calls of builtins on scalars were found to be."""

    _known: ClassVar[dict[Any, Any]] = {}

    @classmethod
    def around(cls, context: Any) -> Any:  # noqa: ANN401
        """The same context, with a memory."""
        if isinstance(context, cls):
            return context
        out = object.__new__(cls)
        out.__dict__ = context.__dict__
        return out

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:  # noqa: ANN401
        """The signature that a call has."""
        if kws or isinstance(func, types.Dispatcher) or not all(isinstance(a, _SCALARS) for a in args):  # fmt: skip
            return _Typing.resolve_function_type(self, func, args, kws)
        key = func, args
        found = self._known.get(key)
        if found is None:
            found = _Typing.resolve_function_type(self, func, args, kws)
            if found is not None:
                self._known[key] = found
        return found


class KernelCompiler(_Compiler):  # type: ignore[misc]
    """The passes of `njit` that kernels need, with lowering to text; for ``njit(pipeline_class=KernelCompiler)``."""

    def __init__(self, typingctx: Any, *args: Any) -> None:  # noqa: ANN401
        _Compiler.__init__(self, _RememberingTyping.around(typingctx), *args)

    def define_pipelines(self) -> list[Any]:
        """One pipeline: nopython mode."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state, "flowedge")
        manager.passes = [
            (_LoweringToText, what) if run is NativeLowering else (run, what)
            for run, what in manager.passes
            if run.name() not in _NOT_NEEDED
        ]
        manager.finalize()
        return [manager]


def linked(library: Any) -> Any:  # noqa: ANN401
    """The module of a compiled function with all that it calls, optimised as a whole."""
    return library._final_module  # noqa: SLF001  # the only way to it


ADDRESS_TO_STATUS = types.int64(types.int64)
"""The signature of every kernel."""
