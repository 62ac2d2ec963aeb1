"""What the examples in docstrings may use: `flow`, which runs the engine, and `nan`."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tests"))


@pytest.fixture(autouse=True)
def examples(doctest_namespace: dict[str, Any]) -> None:
    """Put the names where doctests look for them; imported late, as most tests need neither."""

    def flow(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        from support.flow import flow as run  # noqa: PLC0415

        return run(*args, **kwargs)

    doctest_namespace.update(flow=flow, nan=float("nan"), inf=float("inf"))
