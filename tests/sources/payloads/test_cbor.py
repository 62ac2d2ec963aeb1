"""CBOR payloads: the examples of RFC 8949 (Appendix A) and RFC 8746, and what neither allows."""

import math
import struct

import cbor2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowedge.sources.payloads import DEEPEST, MOST_VALUES, PayloadError, decode
from flowedge.sources.payloads.cbor import unpacked
from flowedge.sources.payloads.values import Instant, Other

APPENDIX_A = [
    ("00", 0), ("01", 1), ("0a", 10), ("17", 23), ("1818", 24), ("1819", 25), ("1864", 100), ("1903e8", 1000), ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 10**12), ("1bffffffffffffffff", 2**64 - 1), ("c249010000000000000000", 2**64), ("3bffffffffffffffff", -(2**64)),
    ("c349010000000000000000", -(2**64) - 1), ("20", -1), ("29", -10), ("3863", -100), ("3903e7", -1000), ("f90000", 0.0), ("f93c00", 1.0),
    ("fb3ff199999999999a", 1.1), ("f93e00", 1.5), ("f97bff", 65504.0), ("fa47c35000", 100000.0), ("fa7f7fffff", 3.4028234663852886e38),
    ("fb7e37e43c8800759c", 1e300), ("f90001", 5.960464477539063e-8), ("f90400", 0.00006103515625), ("f9c400", -4.0), ("fbc010666666666666", -4.1),
    ("f97c00", math.inf), ("f9fc00", -math.inf), ("fa7f800000", math.inf), ("faff800000", -math.inf), ("fb7ff0000000000000", math.inf),
    ("f4", False), ("f5", True), ("f6", None), ("f7", None), ("f0", Other("simple value 16")), ("f8ff", Other("simple value 255")),
    ("c074323031332d30332d32315432303a30343a30305a", Instant(1363896240 * 10**9)), ("c11a514b67b0", Instant(1363896240 * 10**9)),
    ("c1fb41d452d9ec200000", Instant(1363896240_500_000_000)), ("d74401020304", Other("tag 23")), ("d818456449455446", Other("tag 24")),
    ("d82076687474703a2f2f7777772e6578616d706c652e636f6d", Other("tag 32")), ("40", b""), ("4401020304", b"\1\2\3\4"), ("60", ""), ("6161", "a"),
    ("6449455446", "IETF"), ("62225c", '"\\'), ("62c3bc", "\u00fc"), ("63e6b0b4", "\u6c34"), ("64f0908591", "\U00010151"), ("80", []),
    ("83010203", [1, 2, 3]), ("8301820203820405", [1, [2, 3], [4, 5]]), ("98190102030405060708090a0b0c0d0e0f101112131415161718181819", [*range(1, 26)]),
    ("a0", {}), ("a26161016162820203", {"a": 1, "b": [2, 3]}), ("826161a161626163", ["a", {"b": "c"}]),
    ("a56161614161626142616361436164614461656145", {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}), ("5f42010243030405ff", b"\1\2\3\4\5"),
    ("7f657374726561646d696e67ff", "streaming"), ("9fff", []), ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("9f01820203820405ff", [1, [2, 3], [4, 5]]),
    ("83018202039f0405ff", [1, [2, 3], [4, 5]]), ("83019f0203ff820405", [1, [2, 3], [4, 5]]),
    ("9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", [*range(1, 26)]), ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ("826161bf61626163ff", ["a", {"b": "c"}]), ("bf6346756ef563416d7421ff", {"Fun": True, "Amt": -2}),
]  # fmt: skip
NUMBER = pa.schema([("v", pa.float64())])


@pytest.mark.parametrize(("data", "value"), APPENDIX_A)
def test_the_examples_of_the_standard_are_read(data, value):
    found = unpacked(bytes.fromhex(data))
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize("data", ["f97e00", "fa7fc00000", "fb7ff8000000000000"])
def test_not_a_number_is_one(data):
    assert math.isnan(unpacked(bytes.fromhex(data)))


NOT_WELL_FORMED = [
    # RFC 8949, F.1: what ends too early
    "18", "19", "1a", "1b", "1901", "1a0102", "1b01020304050607", "38", "58", "78", "98", "9a01ff00", "b8", "d8", "f8", "f900", "fa0000", "fb000000",
    "41", "61", "5affffffff00", "5bffffffffffffffff010203", "7affffffff00", "7b7fffffffffffffff010203", "81", "818181818181818181", "8200", "a1",
    "a20102", "a100", "a2000000", "c0", "5f4100", "7f6100", "9f", "9f0102", "bf", "bf01020102", "819f", "9f8000", "9f9f9f9f9fffffffff",
    # reserved heads
    "1c", "1d", "1e", "3c", "5c", "7c", "9c", "bc", "dc", "fc", "fd", "fe", "f800", "f801", "f818", "f81f",
    # chunks of another kind, breaks where none may be
    "5f00ff", "5f21ff", "5f6100ff", "5f80ff", "5fa0ff", "5fc000ff", "5fe0ff", "7f4100ff", "5f5f4100ffff", "7f7f6100ffff", "ff", "81ff", "8200ff",
    "a1ff", "a1ff00", "a100ff", "a20000ff", "9f81ff", "9f829f819f9fffffffff", "bf00ff", "bf000000ff", "1f", "3f", "df", "c0ff",
]  # fmt: skip


@pytest.mark.parametrize("data", NOT_WELL_FORMED)
def test_what_is_not_well_formed_is_refused(data):
    with pytest.raises(PayloadError):
        unpacked(bytes.fromhex(data))


def columns(tag, dtype, values):
    data = np.array(values, dtype).tobytes()
    return b"\xa1\x61v" + b"\xd8" + bytes([tag]) + b"\x58" + bytes([len(data)]) + data


@pytest.mark.parametrize(
    ("tag", "dtype"),
    [
        (64, "u1"), (65, ">u2"), (66, ">u4"), (67, ">u8"), (69, "<u2"), (70, "<u4"), (71, "<u8"), (72, "i1"), (73, ">i2"), (74, ">i4"), (75, ">i8"),
        (77, "<i2"), (78, "<i4"), (79, "<i8"), (80, ">f2"), (81, ">f4"), (82, ">f8"), (84, "<f2"), (85, "<f4"), (86, "<f8"),
    ],
)  # fmt: skip
def test_a_typed_array_is_a_column(tag, dtype):
    batch, bad = decode(columns(tag, dtype, [1, 2, 100]), NUMBER)
    assert (batch["v"].to_pylist(), bad) == ([1.0, 2.0, 100.0], [])


def test_a_typed_array_has_to_fit():
    small = pa.schema([("v", pa.uint8())])
    for data, words in (
        (
            columns(65, ">u2", [300]),
            "column `v`: a value is not a whole number that fits into uint8",
        ),
        (columns(81, ">f4", [1]), "numbers of 32 bits are not a whole number"),
        (columns(64, "u1", [1])[:-2] + b"\x02\x01", "cut short"),
    ):
        assert words in decode(data, small)[1][0].reason
    wide = columns(82, ">f8", [1e39])
    assert "32 bits" in decode(wide, pa.schema([("v", pa.float32())]))[1][0].reason
    odd = b"\xa1\x61v\xd8\x41\x43abc"
    assert decode(odd, small)[1][0].reason == "3 bytes are no whole number of values of 2"


def test_a_typed_array_of_a_list_is_a_value_or_many():
    three = pa.schema([("v", pa.list_(pa.float32(), 3))])
    assert decode(columns(85, "<f4", [1, 2, 3]), three)[0].to_pylist() == [{"v": [1, 2, 3]}]
    assert decode(columns(85, "<f4", range(6)), three)[0].to_pylist() == [
        {"v": [0, 1, 2]},
        {"v": [3, 4, 5]},
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a2617601617602", "the key `v` is there twice"),
        ("a10102", "a key of a map is not text"),
        ("a1617661ff", "a text is not UTF-8"),
        ("7f61c361bcff", "a text is not UTF-8"),
        ("a0a0", "bytes follow"),
        ("81" * 20, f"nested more than {DEEPEST} deep"),
        ("c6" * 20 + "00", f"nested more than {DEEPEST} deep"),
        ("9bffffffffffffffff", f"more than {MOST_VALUES} values"),
        ("bb7fffffffffffffff", f"more than {MOST_VALUES} values"),
        ("9a0000ffff", "cut short"),
        ("5bffffffffffffffff", "cut short"),
        ("c25881" + "01" * 129, "a number has 129 bytes"),
        ("c06161", "the tag of a time stands before `a`"),
        ("c16161", "the tag 1 stands before what it does not go with"),
        ("c1f97c00", "a time is not finite"),
        ("a16176f0", "`v` is not a number"),
        ("a16176d82060", "`v` is not a number"),
    ],
)
def test_what_is_no_payload_is_turned_away(data, words):
    batch, bad = decode(bytes.fromhex(data), NUMBER, "cbor")
    assert batch.num_rows == 0
    assert words in bad[0].reason


def test_times_have_tags():
    schema = pa.schema([("t", pa.timestamp("ns"))])
    for value in (
        "c11a514b67b0",
        "c074323031332d30332d32315432303a30343a30305a",
        "1b" + struct.pack(">q", 1363896240 * 10**9).hex(),
    ):
        batch, _ = decode(bytes.fromhex("a16174" + value), schema)
        assert batch["t"].cast(pa.int64()).to_pylist() == [1363896240 * 10**9]
    assert (
        decode(bytes.fromhex("a16174c1fb7e37e43c8800759c"), schema)[1][0].reason
        == "`t` is not a time"
    )


def test_what_says_that_it_is_cbor_may_be_a_list():
    data = b"\xd9\xd9\xf7" + cbor2.dumps([{"v": 1}, {"v": 2.5}])
    assert decode(data, NUMBER)[0]["v"].to_pylist() == [1.0, 2.5]
    assert decode(data[3:], NUMBER, "cbor")[0]["v"].to_pylist() == [1.0, 2.5]
    told = decode(data[3:], NUMBER)[1][0].reason
    assert "a list of CBOR has to begin with the tag 55799, or the format to be named" in told


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=30) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner, max_size=30),
    max_leaves=40,
)  # fmt: skip


@given(st.lists(values, max_size=3), st.booleans())
def test_a_maintained_encoder_is_understood(value, canonical):
    data = cbor2.dumps(value, canonical=canonical)
    try:
        assert unpacked(data) == value
    except PayloadError as error:
        assert "deep" in str(error)  # noqa: PT017  # what hypothesis makes may be deeper
