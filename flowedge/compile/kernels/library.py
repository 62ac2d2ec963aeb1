"""Library kernels made callable: from the cache without Numba, or compiled at their first use."""

from collections.abc import Callable

from flowedge.compile import native
from flowedge.compile.cache import Cache

_READY: dict[Callable[[int], int], native.Kernel] = {}


def ready(run: Callable[[int], int], store: Cache | None = None) -> native.Kernel:
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
        code = native.compiled("def kernel(ctx):\n    return run(ctx)\n", {"run": run}, store=store)
        kernel = _READY[run] = native.load(code)
    return kernel
