"""The decoder: formats told apart, rows in the order of their messages, and what a message has besides."""

import json

import cbor2
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from flowedge.sources.payloads import Decoder, PayloadError, decode, format_of

SCHEMA = pa.schema([("t", pa.timestamp("ns")), ("v", pa.float32()), ("s", pa.string())])
EXTRA = pa.schema([("device", pa.string()), ("received", pa.timestamp("ns", "UTC"))])


def stream(batch, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


READINGS = [{"t": 1, "v": 1.5, "s": "a"}, {"t": 2, "v": None, "s": "é"}]
SAME = {
    "msgpack": msgpack.packb(READINGS),
    "json": json.dumps(READINGS).encode(),
    "cbor": b"\xd9\xd9\xf7" + cbor2.dumps(READINGS),
    "arrow": stream(pa.RecordBatch.from_pylist(READINGS)),
    "csv": "s,v,t\na,1.5,1970-01-01T00:00:00.000000001\né,,1970-01-01 00:00:00.000000002\n".encode(),
}


@pytest.mark.parametrize("name", SAME)
def test_all_formats_say_the_same(name):
    assert format_of(SAME[name]) == name
    for given in ("auto", name):
        batch, bad = decode(SAME[name], SCHEMA, given)
        batch.validate(full=True)
        assert batch.schema.equals(SCHEMA)
        assert bad == []
        assert batch.set_column(0, "t", batch["t"].cast(pa.int64())).to_pylist() == READINGS


@pytest.mark.parametrize(
    ("front", "name"),
    [
        ("80", "msgpack"), ("9f", "msgpack"), ("dc0001", "msgpack"), ("df", "msgpack"), ("a0", "cbor"), ("b9", "cbor"), ("bf", "cbor"),
        ("d9d9f780", "cbor"), ("ffffffff", "arrow"), ("7b", "json"), ("5b", "json"), ("efbbbf7b", "json"), ("200a0d097b", "json"), ("31", "csv"),
        ("22", "csv"), ("efbbbf61", "csv"), ("2d", "csv"),
    ],
)  # fmt: skip
def test_the_first_bytes_tell_the_format(front, name):
    assert format_of(bytes.fromhex(front)) == name


@pytest.mark.parametrize(
    "front",
    [
        "",
        "c1",
        "d9",
        "d9d9",
        "ff",
        "ffffff",
        "00",
        "20",
        "0a",
        "7f",
        "efbbbf",
        "c3a9",
        "20" * 65 + "7b",
    ],
)
def test_what_no_format_begins_with_is_said(front):
    with pytest.raises(PayloadError, match=r"it is empty|as no format does"):
        format_of(bytes.fromhex(front))
    assert len(decode(bytes.fromhex(front), SCHEMA)[1]) == 1


def test_rows_stand_in_the_order_of_their_messages_with_what_these_have_besides():
    decoder = Decoder(SCHEMA, extra=EXTRA)
    payloads = [
        SAME["json"],
        b"?",
        SAME["arrow"],
        SAME["msgpack"],
        b"[]",
        SAME["csv"],
        b'[{"v": 1}, {"v": "x"}]',
    ]
    extra = {"device": list("abcdefg"), "received": np.arange(7) * 1000}
    counts = decoder.add_many(payloads, extra)
    assert counts.tolist() == [2, 0, 2, 2, 0, 2, 1]
    assert (decoder.rows, decoder.seen, len(decoder.rejected)) == (9, 11, 2)
    assert [r.number for r in decoder.rejected] == [3, 11]
    assert decoder.add(SAME["json"], device="z", received=5) == 2
    batch = decoder.take()
    batch.validate(full=True)
    assert batch.schema.equals(decoder.schema)
    assert batch["device"].to_pylist() == list("aaccddffgzz")
    assert batch["received"].cast(pa.int64()).to_pylist() == [
        0,
        0,
        2000,
        2000,
        3000,
        3000,
        5000,
        5000,
        6000,
        5,
        5,
    ]
    assert batch["s"].to_pylist() == ["a", "é"] * 4 + [None, "a", "é"]
    assert (decoder.take().num_rows, decoder.rows) == (0, 0)
    assert decoder.take().schema.equals(decoder.schema)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="`xml` is no format of payloads; there are auto, msgpack"):
        Decoder(SCHEMA, "xml")


def test_bytes_are_values_where_bytes_are_declared():
    schema = pa.schema([("d", pa.binary()), ("n", pa.int8())])
    for data in (msgpack.packb({"d": b"\xff\0", "n": 1}), cbor2.dumps({"d": b"\xff\0", "n": 1})):
        assert decode(data, schema)[0].to_pylist() == [{"d": b"\xff\0", "n": 1}]
    assert decode(msgpack.packb({"d": [b"a", None], "n": b"\1\2"}), schema)[0].to_pylist() == [
        {"d": b"a", "n": 1},
        {"d": None, "n": 2},
    ]
    assert decode(b'{"d": "a"}', schema)[1][0].reason == "`d` is not bytes"


def test_lists_in_lists_are_values_and_columns():
    schema = pa.schema([("x", pa.list_(pa.list_(pa.int16(), 2), 2))])
    assert decode(b'{"x": [[1, 2], [3, 4]]}', schema)[0].to_pylist() == [{"x": [[1, 2], [3, 4]]}]
    assert decode(b'{"x": [[[1, 2], [3, 4]]]}', schema)[0].to_pylist() == [{"x": [[1, 2], [3, 4]]}]
    assert (
        decode(msgpack.packb({"x": np.arange(8, dtype="<i2").tobytes()}), schema)[0].num_rows == 2
    )
    assert decode(b"1,2,3,4\n5,6,7,8", schema)[0].to_pylist()[1] == {"x": [[5, 6], [7, 8]]}
