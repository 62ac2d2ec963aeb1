"""The operators: found by walking this folder."""

import importlib
import pkgutil
from functools import lru_cache

from flowedge.operators.contract import Operator, found


@lru_cache(maxsize=1)
def discover() -> dict[tuple[str, str], type[Operator]]:
    """Import every operator; returns them by (kind, name)."""
    for module in pkgutil.walk_packages(__path__, __name__ + "."):
        importlib.import_module(module.name)
    return dict(sorted(found().items()))
