"""What is encoded is read back, in every format and layout."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder, encode
from flowedge.sources.payloads import Decoder

WHOLE = {pa.int8(): 7, pa.int32(): 31, pa.int64(): 63, pa.uint8(): 8, pa.uint64(): 64}
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)


def values(kind):
    """Any value of a type, or none."""
    if pa.types.is_fixed_size_list(kind):
        one = st.lists(values(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    elif kind in WHOLE:
        bits = WHOLE[kind]
        one = st.integers(0 if pa.types.is_unsigned_integer(kind) else -(2**bits), 2**bits - 1)
    elif pa.types.is_floating(kind):
        one = st.floats(width=kind.bit_width)
    elif pa.types.is_timestamp(kind):
        one = st.integers(-(2**62), 2**62)
    elif pa.types.is_boolean(kind):
        one = st.booleans()
    elif pa.types.is_binary(kind):
        one = st.binary(max_size=12)
    else:
        one = TEXTS
    return st.none() | one


LEAVES = st.sampled_from([*WHOLE, pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.timestamp("ns", "UTC"), pa.binary()])  # fmt: skip
NUMBERS = st.sampled_from([pa.float32(), pa.float64(), pa.int32(), pa.int64()])
KINDS = LEAVES | st.builds(pa.list_, NUMBERS, st.integers(1, 3)) | st.just(pa.list_(pa.list_(pa.float64(), 2), 2))  # fmt: skip


@st.composite
def batches(draw):
    """Rows of any schema that payloads hold."""
    kinds = draw(st.lists(KINDS, min_size=1, max_size=4))
    rows = draw(st.integers(1, 4))
    fields = [pa.field(f"c{i}", kind) for i, kind in enumerate(kinds)]
    columns = [
        pa.array(draw(st.lists(values(f.type), min_size=rows, max_size=rows)), f.type)
        for f in fields
    ]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def told(value, kind, format_, *, inside=False):
    """What a format can say of a value."""
    if pa.types.is_fixed_size_list(kind):
        value = [None] * kind.list_size if value is None else value
        return [told(v, kind.value_type, format_, inside=True) for v in value]
    if isinstance(value, float) and (
        math.isnan(value) or (format_ == "json" and math.isinf(value))
    ):
        return None
    if format_ == "csv" and value == "" and not inside:
        return None
    return value


def rows_of(batch, format_):
    kinds = batch.schema.types
    plain = [
        c.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(c.type) else c.to_pylist()
        for c in batch.columns
    ]
    return [
        [told(v, k, format_) for v, k in zip(row, kinds, strict=True)]
        for row in zip(*plain, strict=True)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("format_", FORMATS)
@given(batch=batches())
def test_what_is_encoded_is_read_back(format_, layout, batch):
    if format_ in ("json", "csv"):
        fitting = [f.name for f in batch.schema if not pa.types.is_binary(f.type)]
        batch = batch.select(fitting)
        if not fitting:
            return
    decoder = Decoder(batch.schema, format_)
    automatic = Decoder(batch.schema)
    for payload in encode(batch, format_, layout):
        decoder.add(payload)
        automatic.add(payload)
    assert not decoder.rejected
    assert rows_of(decoder.take(), format_) == rows_of(batch, format_)
    if format_ != "csv":  # a line of CSV can look like any format
        assert not automatic.rejected
        assert rows_of(automatic.take(), format_) == rows_of(batch, format_)


@pytest.mark.parametrize("layout", ["list", "columns"])
@pytest.mark.parametrize("format_", FORMATS)
def test_no_payload_has_more_values_than_the_decoder_takes(format_, layout):
    count = 200_000
    batch = pa.RecordBatch.from_pydict(
        {"a": list(range(count)), "b": [None if i == 5 else i for i in range(count)]}
    )
    found = encode(batch, format_, layout)
    decoder = Decoder(batch.schema, format_)
    for payload in found:
        decoder.add(payload)
    assert not decoder.rejected
    assert decoder.take().equals(batch)
    assert len(found) > 1


def test_labels_are_texts_and_the_order_of_rows_is_kept():
    labels = pa.array(["x", "y", "x", None]).dictionary_encode()
    batch = pa.RecordBatch.from_arrays([labels], names=["label"])
    assert encode(batch) == [b'{"label":"x"}', b'{"label":"y"}', b'{"label":"x"}', b"{}"]
    assert encode(batch.slice(0, 0)) == []


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_bytes_are_refused_where_the_format_has_none(format_):
    with pytest.raises(ValueError, match="holds bytes"):
        Encoder(pa.schema([("b", pa.binary())]), format_)
