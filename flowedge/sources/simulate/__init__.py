"""Seeded simulators for trying pipelines: honest names, never presented as recordings.

Rows come in blocks that depend on the seed and the place alone, so that the same call gives the same
rows however they are read, and reading may begin anywhere. A longer run begins with the rows of a
shorter one.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from flowedge.lang.errors import SourceError
from flowedge.sources.contract import BATCH_ROWS, Piece, Position, Predicate, Source
from flowedge.types.connectors import Option
from flowedge.types.metadata import RATE, START, UNIT

BLOCK = 8192
"""Samples made at once."""
START_NS = 1_577_836_800_000_000_000
"""2020-01-01T00:00:00Z, where simulated days begin."""
SECONDS = Option("seconds", "duration", 60.0, "how long it lasts [s]")
SEED = Option("seed", "integer", 0, "another one, another course")


class Simulator(Source):
    """Blocks of rows out of numbers; `seconds`, `seed` and the like stand in `given`."""

    needs_address: ClassVar[bool] = False
    POSITIVE: ClassVar[tuple[str, ...]] = (
        "seconds",
        "rate",
        "every",
        "devices",
        "heart_rate",
        "speed",
        "defect",
    )
    """Options that mean nothing at zero or below."""

    def __init__(self, address: str = "", **options: Any) -> None:  # noqa: ANN401  # each connector says what it takes
        super().__init__(address, **options)
        for name in self.POSITIVE:
            if name in self.given and not 0 < float(self.given[name]) < math.inf:
                raise SourceError(
                    f"`{self.name}` cannot run with {name}={self.given[name]:g}; take a number above zero"
                )

    @property
    def rate_hz(self) -> float | None:
        """Samples per second; None for rows with times of their own."""
        return float(self.given["rate"]) if "rate" in self.given else None

    @property
    def start_ns(self) -> int | None:
        """Where simulated days begin."""
        return None if self.rate_hz is None else START_NS

    def paths(self) -> list[str]:
        """No files."""
        return []

    @abstractmethod
    def block(self, k: int) -> pa.RecordBatch | None:
        """Block number k, None after the last."""

    def batches(
        self,
        columns: Sequence[str] | None = None,
        predicate: Predicate | None = None,
        start: Position | None = None,
    ) -> Iterator[Piece]:
        """All blocks, from the one that `start` lies in."""
        del predicate
        first = 0 if start is None else start.file
        skip = 0 if start is None else start.row
        k = first
        while (batch := self.block(k)) is not None:
            if columns is not None:
                batch = batch.select(list(columns))
            while skip + BATCH_ROWS < batch.num_rows:
                yield batch.slice(skip, BATCH_ROWS), Position(k, skip + BATCH_ROWS)
                skip += BATCH_ROWS
            yield batch.slice(skip), Position(k + 1, 0)
            skip, k = 0, k + 1

    def _schema(self, fields: Sequence[tuple[str, pa.DataType, str]]) -> pa.Schema:
        """A schema of (name, type, unit), with the rate and the first instant of a signal."""
        metadata: dict[bytes, str] = {}
        if self.rate_hz is not None:
            metadata[RATE] = repr(self.rate_hz).removesuffix(".0")
        if self.start_ns is not None:
            metadata[START] = str(self.start_ns)
        return pa.schema(
            [pa.field(n, t, metadata={UNIT: u.encode()} if u else None) for n, t, u in fields],
            metadata=metadata,
        )

    def _draw(self, k: int, stream: int = 0) -> np.random.Generator:
        """Random numbers that belong to one block."""
        return np.random.Generator(
            np.random.Philox(key=[int(self.given["seed"]) & (2**64 - 1), 2**32 * stream + k])
        )


def array_of(values: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array over the values, without detours."""
    if pa.types.is_timestamp(kind):
        values = values.astype(np.int64)
    return pa.Array.from_buffers(
        kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )
