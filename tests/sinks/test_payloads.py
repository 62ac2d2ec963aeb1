"""What is encoded is read back, in every format and layout."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.sinks.payloads import FORMATS, LAYOUTS, Encoder, encode, fast, msgpack
from flowedge.sinks.payloads.fast import fast_of
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


# ---- maps of msgpack, by a kernel

FAST = LEAVES.filter(lambda kind: not pa.types.is_fixed_size_list(kind))
LABEL = pa.dictionary(pa.int32(), pa.string())


@st.composite
def flat_batches(draw):
    """Rows of what the kernel knows, a part of a longer batch."""
    kinds = draw(st.lists(FAST, min_size=1, max_size=20))
    rows = draw(st.integers(1, 4))
    columns = [pa.array(draw(st.lists(values(k), min_size=rows, max_size=rows)), k) for k in kinds]
    texts = pa.array(["calm", None, "x" * 40], pa.string())
    places = st.none() | st.integers(0, 2)
    numbers = pa.array(draw(st.lists(places, min_size=rows, max_size=rows)), pa.int32())
    columns.append(pa.DictionaryArray.from_arrays(numbers, texts))
    whole = pa.RecordBatch.from_arrays(columns, [f"c{i}" for i in range(len(columns))])
    return whole.slice(draw(st.integers(0, rows - 1)))


@given(batch=flat_batches())
def test_the_kernel_writes_the_bytes_that_msgpack_does(batch):
    found = fast_of(batch.schema)
    found.prepare()
    assert found.payloads(batch) == msgpack.each(batch)
    assert Encoder(batch.schema, "msgpack").payloads(batch) == msgpack.each(batch)


EDGES = [
    -(2**63), -(2**31) - 1, -(2**31), -(2**15) - 1, -(2**15), -129, -128, -33, -32, -1, 0, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1,
    2**32, 2**63 - 1,
]  # fmt: skip


def edge_batch():
    """Numbers and lengths on both sides of where msgpack writes them otherwise."""
    lengths = [0, 1, 31, 32, 255, 256, 65_535, 65_536]
    texts = ["é" * (n // 2) + "x" * (n % 2) for n in lengths]
    rows = len(EDGES)
    return pa.record_batch({
        "i": pa.array(EDGES),
        "u": pa.array([2**64 + v if v < 0 else v for v in EDGES], pa.uint64()),
        "a name that is longer than thirty-one bytes": pa.array([k / 3 for k in range(rows)]),
        "s": pa.array((texts * 3)[:rows]),
        "b": pa.array(([t.encode() for t in texts] * 3)[:rows]),
        "at": pa.array(EDGES, pa.timestamp("ns", "UTC")),
    })  # fmt: skip


def test_numbers_and_texts_take_as_few_bytes_as_they_may():
    batch = edge_batch()
    found = fast_of(batch.schema)
    found.prepare()
    assert found.payloads(batch) == msgpack.each(batch)
    few = batch.slice(3, 2)
    assert found.payloads(few) == msgpack.each(few)


def test_more_fields_than_a_short_map_has():
    batch = pa.record_batch({f"c{k}": [k, None] for k in range(40)})
    found = fast_of(batch.schema)
    found.prepare()
    assert found.payloads(batch) == msgpack.each(batch)


def test_the_kernel_of_maps_is_a_plain_function(monkeypatch):
    class Plain:
        def __init__(self, kernel):
            self.kernel = kernel

        def bound(self, context):
            return lambda: self.kernel(context)

    batch = edge_batch()
    monkeypatch.setattr(fast, "ready", Plain)
    assert fast_of(batch.schema).payloads(batch) == msgpack.each(batch)


def test_lists_are_left_to_python():
    lists = pa.schema([("v", pa.float64()), ("l", pa.list_(pa.float64(), 2))])
    assert fast_of(lists) is None
    assert fast_of(pa.schema([("t", pa.timestamp("us"))])) is None
