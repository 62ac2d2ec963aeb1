"""Where filter designs come from: SciPy, imported as far as they need it."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


@cache
def scipy_designs() -> Any:  # noqa: ANN401
    """The filter designs of `scipy.signal`: a module that has `butter` and `iirnotch`.

    The package imports statistics, splines and more as soon as it is touched, most of what a cold
    start would wait for; its module of filter designs needs none of that. Where a version of SciPy
    keeps the designs elsewhere, the package is imported as ever.
    """
    name = "scipy.signal"
    if name not in sys.modules:
        import scipy  # noqa: PLC0415  # only a cold start designs

        bare = ModuleType(name)
        bare.__path__ = [str(Path(scipy.__file__).parent / "signal")]
        sys.modules[name] = bare
        try:
            found = import_module(f"{name}._filter_design")
        except ImportError:
            found = None
        finally:
            del sys.modules[name]
        if hasattr(found, "butter") and hasattr(found, "iirnotch"):
            return found
    return import_module(name)
