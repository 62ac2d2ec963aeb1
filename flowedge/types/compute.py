"""Arrow's functions over columns, imported at their first use: most runs need none of them."""

from typing import Any


class _Functions:
    """Stands for `pyarrow.compute`, which takes 40 to 170 ms to import."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        import pyarrow.compute  # noqa: PLC0415

        return getattr(pyarrow.compute, name)


pc = _Functions()
