"""The decoder: formats told apart, rows in the order of their messages, and what a message has besides."""

import json

import cbor2
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from flowedge.sources.payloads import Decoder, PayloadError, decode, format_of
from flowedge.sources.payloads import decoder as decoder_module

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


def test_messages_without_declared_fields_have_what_is_known_besides():
    decoder = Decoder(pa.schema([]), extra=EXTRA)
    assert decoder.add_many(
        [b"{}", b"[{}, 1]", b"x"], {"device": ["a", "b", "c"], "received": [1, 2, 3]}
    ).tolist() == [1, 1, 0]
    assert decoder.take()["device"].to_pylist() == ["a", "b"]


def test_what_is_too_much_for_one_batch_is_several(monkeypatch):
    monkeypatch.setattr(decoder_module, "_MOST_AT_ONCE", 500)
    monkeypatch.setattr(decoder_module, "_MOST_TAKEN", 1000)
    decoder = Decoder(SCHEMA, extra=EXTRA)
    payloads = [json.dumps({"s": "x" * k}).encode() for k in range(100)]
    counts = decoder.add_many(
        payloads, {"device": [f"d{k}" for k in range(100)], "received": np.arange(100)}
    )
    assert (counts.tolist(), decoder.rows) == ([1] * 100, 100)
    batches = []
    while decoder.rows:
        batches.append(decoder.take())
    assert len(batches) > 3
    assert [len(s) for b in batches for s in b["s"].to_pylist()] == list(range(100))
    assert [s for b in batches for s in b["device"].to_pylist()] == [f"d{k}" for k in range(100)]


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


@pytest.mark.parametrize("many", [1, 20])
def test_values_that_do_not_fit_go_by_what_the_pipeline_says(many):
    schema = pa.schema([("n", pa.uint8()), ("m", pa.int8()), ("v", pa.float32()), ("k", pa.int8())])
    decoder = Decoder(schema, fitting={"n": "clamp", "m": "null", "v": "clamp", "k": "reject"})
    readings = [
        {"n": 300, "m": 300, "k": 1},
        {"n": "-4.6", "v": 1e39},
        {"n": True, "m": 1, "k": 300},
        {"n": [1]},
        {"n": 5},
    ]
    for payload in (
        json.dumps(readings).encode(),
        msgpack.packb(readings),
        cbor2.dumps(readings[0]),
    ):
        decoder.add_many([payload] * many)
    rows = [tuple(r.values()) for r in decoder.take().to_pylist()]
    each = [
        (255, None, None, 1),
        (0, None, None, None),
        (None, None, None, None),
        (5, None, None, None),
    ]
    assert rows == each * 2 * many + each[:1] * many
    assert [r.by_policy for r in decoder.rejected] == [True] * 2 * many
    assert decoder.take_altered() == {
        "n": (2 * many, 5 * many),
        "m": (3 * many, 0),
        "v": (2 * many, 0),
    }
    assert decoder.take_altered() == {}


def test_lists_in_lists_are_values_and_columns():
    schema = pa.schema([("x", pa.list_(pa.list_(pa.int16(), 2), 2))])
    assert decode(b'{"x": [[1, 2], [3, 4]]}', schema)[0].to_pylist() == [{"x": [[1, 2], [3, 4]]}]
    assert decode(b'{"x": [[[1, 2], [3, 4]]]}', schema)[0].to_pylist() == [{"x": [[1, 2], [3, 4]]}]
    assert (
        decode(msgpack.packb({"x": np.arange(8, dtype="<i2").tobytes()}), schema)[0].num_rows == 2
    )
    assert decode(b"1,2,3,4\n5,6,7,8", schema)[0].to_pylist()[1] == {"x": [[5, 6], [7, 8]]}
