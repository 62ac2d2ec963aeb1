"""msgpack payloads."""

from typing import Any

import msgpack
import pyarrow as pa

from flowedge.sinks.payloads import trees


def each(batch: pa.RecordBatch) -> list[bytes]:
    """A map for each row, without what is missing."""
    packer = msgpack.Packer(use_bin_type=True)
    return [packer.pack(row) for row in trees.maps(batch)]


def listed(batch: pa.RecordBatch) -> bytes:
    """A list of maps."""
    return _packed(trees.maps(batch))


def columns(batch: pa.RecordBatch) -> bytes:
    """Columns as bytes, little-endian, where they are numbers without a gap; as lists elsewhere."""
    found = trees.columns(batch)
    return _packed({
        name: value.values.tobytes() if isinstance(value, trees.Numbers) else value
        for name, value in found.items()
    })  # fmt: skip


def _packed(value: Any) -> bytes:  # noqa: ANN401
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


__all__ = ["columns", "each", "listed"]
