"""Library kernels made callable: from the cache without Numba, or compiled at their first use."""

from collections.abc import Callable

from flowedge.cache import Cache
from flowedge.compile import native

Run = Callable[[int], int]

TEXT = "def kernel(ctx):\n    return run(ctx)\n"
"""The source of every library kernel; what it runs is handed in by name."""

_READY: dict[Run, native.Kernel] = {}


def is_ready(run: Run) -> bool:
    """Whether a kernel has been loaded already."""
    return run in _READY


def keep(run: Run, code: bytes) -> None:
    """Load the object code of a library kernel that was compiled elsewhere."""
    _READY.setdefault(run, native.load(code))


def ready(run: Run, store: Cache | None = None) -> native.Kernel:
    """The compiled form of a function of a context, the same one each time.

    Parameters
    ----------
    run : a plain function over `flowedge.compile.memory`; its module imports no Numba
    store : the cache to look in; the user's own one by default

    Raises
    ------
    InternalError
        it does not compile, or calls what a kernel may not
    """
    kernel = _READY.get(run)
    if kernel is None:
        code = native.compiled(TEXT, {"run": run}, store=store)
        kernel = _READY[run] = native.load(code)
    return kernel
