"""Readings as msgpack: what fits comes out, what does not is turned away with a reason."""

import struct

import msgpack
import numpy as np
import pyarrow as pa
import pytest

from flowedge.sources.payloads import MOST_VALUES, CutShortError, PayloadError, decode
from flowedge.sources.payloads.msgpack import end_of

NS = pa.timestamp("ns")
SCHEMA = pa.schema(
    [("t", NS), ("v", pa.float32()), ("n", pa.int16()), ("s", pa.string()), ("b", pa.bool_()), ("x", pa.list_(pa.float64(), 2))]
)  # fmt: skip
NUMBER = pa.schema([("v", pa.float64())])


def rows(value, schema=SCHEMA):
    batch, bad = decode(
        value if isinstance(value, bytes) else msgpack.packb(value), schema, "msgpack"
    )
    batch.validate(full=True)
    assert batch.schema.equals(schema)
    if "t" in schema.names:
        batch = batch.set_column(0, "t", batch.column("t").cast(pa.int64()))
    return batch.to_pylist(), [one.reason for one in bad]


def test_a_map_is_a_row_and_what_it_lacks_is_missing():
    assert rows({"t": 5, "v": 1, "n": -3, "s": "é", "b": True, "x": [1, None], "more": {}}) == (
        [{"t": 5, "v": 1.0, "n": -3, "s": "é", "b": True, "x": [1.0, None]}],
        [],
    )
    assert rows({}) == ([dict.fromkeys(SCHEMA.names)], [])


@pytest.mark.parametrize(
    ("value", "instant"),
    [(7, 7), ("1970-01-01T00:00:01Z", 10**9), (msgpack.Timestamp(2, 3), 2 * 10**9 + 3)],
)
def test_a_time_is_whole_nanoseconds_iso_text_or_a_timestamp(value, instant):
    assert rows({"t": value})[0][0]["t"] == instant


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2**15), ("n", 1.0), ("n", True), ("v", "1"), ("v", True), ("v", 1e39), ("s", 3), ("b", 1), ("t", "soon"),
        ("t", 2**63), ("t", 1.5), ("x", [1]), ("x", [1, "2"]), ("x", 1),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_type_is_turned_away_and_the_rest_is_read(field, value):
    good, bad = rows([{"s": "a"}, {field: value}, {"s": "b"}])
    assert [r["s"] for r in good] == ["a", "b"]
    assert len(bad) == 1
    assert bad[0].startswith(f"`{field}` is not ")


def test_not_a_number_and_the_infinite_are_numbers():
    good, bad = rows([{"v": float("inf")}, {"v": float("nan")}], NUMBER)
    assert (str(good), bad) == ("[{'v': inf}, {'v': nan}]", [])


def test_columns_are_bytes_of_the_declared_types():
    value = {
        "t": np.arange(2).tobytes(), "v": struct.pack("<2f", 1, 2), "n": struct.pack("<2h", 3, 4), "s": ["a", None],
        "b": b"\0\1", "x": np.arange(4.0).tobytes(),
    }  # fmt: skip
    assert rows(value) == (
        [
            {"t": 0, "v": 1.0, "n": 3, "s": "a", "b": False, "x": [0.0, 1.0]},
            {"t": 1, "v": 2.0, "n": 4, "s": None, "b": True, "x": [2.0, 3.0]},
        ],
        [],
    )
    assert rows({"n": b"\1\0"})[0][0] == {**dict.fromkeys(SCHEMA.names), "n": 1}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"v": b"123"}, "3 bytes are no whole number of values of 4"),
        ({"v": b"1234", "n": b"1234"}, "columns of unequal length: `v` 1, `n` 2"),
        ({"b": b"\2"}, "a byte is neither 0 nor 1"),
        ({"x": bytes(24)}, "3 values are not 2 for each row"),
        ({"s": b"a", "v": b"1234"}, "texts come as a list"),
        ({"v": b"1234", "n": 3}, "neither bytes nor a list"),
    ],
)
def test_columns_that_do_not_go_together_are_turned_away(value, words):
    good, bad = rows(value)
    assert good == []
    assert words in bad[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x82\xa1v\x01\xa1v\x02", "the key `v` is there twice"),
        (b"\x81\x01\x02", "a key of a map is not text"),
        (b"\x81\xa1v\xa1\xff", "a text is not UTF-8"),
        (b"\x81\xa1v\xa3\xed\xa0\x80", "a text is not UTF-8"),
        (msgpack.packb({"v": msgpack.ExtType(5, b"x")}), "extension type 5"),
        (b"\xc1", "begins no value"),
        (b"\x81\xa1v", "cut short"),
        (b"\x80\x80", "bytes follow"),
        (b"", "cut short"),
        (b"\x05", "it is no map"),
        (b"\xdd\xff\xff\xff\xff", f"more than {MOST_VALUES} values"),
        (b"\xdf\xff\xff\xff\xff", f"more than {MOST_VALUES} values"),
        (b"\x81\xa1v\xc6\xff\xff\xff\xff", "longer than 64 MiB"),
        (b"\x91" * 100_000, "nested more than 8 deep"),
        (b"\xdc\xff\xff" + b"\x90" * 65_535 + b"\x90" * 9, "bytes follow"),
    ],
)
def test_bytes_that_are_no_payload_are_turned_away(data, words):
    good, bad = rows(data, NUMBER)
    assert good == []
    assert words in bad[0]


def test_the_end_of_a_payload_is_found_without_unpacking_it():
    for value in (
        {"a": [1, 2.5, None, "x" * 300, b"y" * 70_000]},
        [],
        {},
        5,
        list(range(70_000)),
        msgpack.Timestamp(1, 2),
    ):
        data = msgpack.packb(value)
        assert end_of(data + b"rest") == len(data)
        with pytest.raises(CutShortError):
            end_of(data[:-1])
    with pytest.raises(PayloadError, match="more than"):
        end_of(msgpack.packb([[0] * 1000] * 300))
