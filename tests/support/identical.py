"""Whether rows are the same bit for bit: NaN equals itself, and 0.0 is not -0.0."""

import pyarrow as pa


def identical(a, b):
    """Whether two batches have the same fields and the same bits where a value is."""
    return a.schema.equals(b.schema) and all(_alike(x, y) for x, y in zip(a, b, strict=True))


def _alike(a, b):
    if pa.types.is_fixed_size_list(a.type):
        return a.is_null().equals(b.is_null()) and _alike(a.flatten(), b.flatten())
    if pa.types.is_floating(a.type):
        whole = pa.int64() if a.type.bit_width == 64 else pa.int32()
        return a.view(whole).equals(b.view(whole))
    return a.equals(b)
