"""FlowEdge: a sensor stream-processing engine with a dataflow language.

>>> import flowedge
>>> flowedge.__version__
'0.1.0'
"""

import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flowedge.lang.diagnostics import FlowError
    from flowedge.lang.errors import RunError
    from flowedge.runtime.plan import Plan

_FACE = {
    "FlowError": "flowedge.lang.diagnostics", "RunError": "flowedge.lang.errors", "Plan": "flowedge.runtime.plan",
}  # fmt: skip

__all__ = ["FlowError", "Plan", "RunError", "__version__", "compile"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """The public names, imported when they are first asked for."""
    if name not in _FACE:
        message = f"module 'flowedge' has no attribute {name!r}"
        raise AttributeError(message)
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(_FACE[name]), name)


class _Face(types.ModuleType):
    """``flowedge.compile`` is the function that users call, although a room has that name too."""

    @property
    def compile(self) -> Any:  # noqa: ANN401
        """`flowedge.runtime.plan.compile_flow`."""
        from flowedge.runtime.plan import compile_flow  # noqa: PLC0415

        return compile_flow

    @compile.setter  # noqa: A003
    def compile(self, room: types.ModuleType) -> None:
        """The import system hangs the room here; it is reached by ``from flowedge.compile import …``."""


sys.modules[__name__].__class__ = _Face
