"""The kernels give the rows of the slow way, bit for bit, and leave to it whatever they do not understand."""

import datetime as dt
import json
import math
import random
import struct

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from fuzz.mutate import mutated
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.identical import identical

from flowedge.compile.kernels.library import ready
from flowedge.compile.memory import address, f64, i64, set_f64, set_i64
from flowedge.sources.payloads import Decoder, fast, few
from flowedge.sources.payloads.kernels.decimal import nearest, powers
from flowedge.sources.payloads.kernels.texts import instant, is_utf8
from flowedge.sources.payloads.values import time_of

SCHEMA = pa.schema(
    [
        ("t", pa.timestamp("ns", "UTC")), ("v", pa.float64()), ("f", pa.float32()), ("a", pa.int8()), ("b", pa.uint8()), ("c", pa.int16()),
        ("d", pa.uint16()), ("e", pa.int32()), ("g", pa.uint32()), ("h", pa.int64()), ("u", pa.uint64()), ("s", pa.string()), ("ok", pa.bool_()),
        ("acceleration", pa.list_(pa.float32(), 3)), ("température", pa.float64()), ("flags", pa.list_(pa.bool_(), 2)), ("raw", pa.binary()),
        ("late", pa.timestamp("us")), ("deep.er", pa.float32()),
    ]
)  # fmt: skip
NAMES = SCHEMA.names
PLAIN = pa.schema([f for f in SCHEMA if f.name not in ("acceleration", "flags", "raw", "late")])
"""What few payloads have memory ready for."""


def decoded(payloads, schema=SCHEMA, kind="auto", *, is_fast):
    decoder = Decoder(schema, kind)
    if is_fast:
        decoder.prepare()
    else:
        decoder._fast.kernels.clear()
    counts = decoder.add_many(payloads)
    batch = decoder.take()
    batch.validate(full=True)
    return batch, counts.tolist(), decoder.rejected, decoder.seen


def alike(payloads, schema=SCHEMA, kind="auto"):
    """Both ways give the same; how many messages the kernels left."""
    quick, slow = (decoded(payloads, schema, kind, is_fast=way) for way in (True, False))
    assert quick[1:] == slow[1:]
    assert identical(quick[0], slow[0])
    decoder = Decoder(schema, kind)
    decoder.prepare()
    return len(decoder._fast.run(payloads)[1])


numbers = (
    st.integers(-(2**65), 2**65) | st.integers(-130, 300) | st.floats() | st.floats(width=32)
    | st.sampled_from([3.4028234663852886e38, 3.4028235677973366e38, -0.0, 5e-324, 2**53 + 1, 2**63, -(2**63), 2**64 - 1, 1e22, 1e23])
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | numbers | st.text(max_size=12) | st.just("2024-05-01T12:30:00.5Z")
)
values = (
    scalars
    | st.lists(scalars, max_size=4)
    | st.lists(numbers, min_size=3, max_size=3)
    | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
)
fitting = st.fixed_dictionaries(
    {},
    optional={
        "t": st.none() | st.integers(-(2**63), 2**63 - 1) | st.just("2024-05-01 12:30:00"), "v": st.none() | numbers,
        "f": st.none() | st.floats(width=32), "a": st.integers(-128, 127), "b": st.integers(0, 255), "c": st.integers(-(2**15), 2**15 - 1),
        "d": st.integers(0, 2**16 - 1), "e": st.integers(-(2**31), 2**31 - 1), "g": st.integers(0, 2**32 - 1), "h": st.integers(-(2**63), 2**63 - 1),
        "u": st.integers(0, 2**64 - 1), "s": st.none() | st.text(max_size=20), "ok": st.none() | st.booleans(),
        "acceleration": st.none() | st.lists(st.floats(width=32), min_size=3, max_size=3), "température": numbers,
        "flags": st.lists(st.booleans(), min_size=2, max_size=2), "more": values, "deep.er": st.floats(width=32), "deep": values,
    },
)  # fmt: skip
anything = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), values, max_size=6)
readings = fitting | anything
trees = readings | st.lists(readings, max_size=5) | values


def as_json(value, style):
    """JSON in several styles; what it cannot say is left out."""
    text = json.dumps(
        value,
        ensure_ascii=style & 1,
        separators=(",", ":") if style & 2 else None,
        indent=style & 4 or None,
    )
    return text.encode("utf-8", "replace")


def as_msgpack(value):
    try:
        return msgpack.packb(value, use_single_float=False)
    except OverflowError:
        return msgpack.packb({"v": str(value)})


@settings(max_examples=150)
@given(st.lists(st.tuples(trees, st.integers(0, 8)), min_size=1, max_size=6))
@example([({"v": -0.0, "f": 1e-45}, 0), ({"v": 0}, 1)])
def test_generated_payloads_of_both_formats_give_the_same_rows(messages):
    payloads = [as_msgpack(v) if style == 8 else as_json(v, style) for v, style in messages]
    for schema in (SCHEMA, PLAIN):
        alike(payloads, schema)
        for kind in ("json", "msgpack"):
            alike(payloads, schema, kind)


ROWS = [
    {"t": 1700000000000000000, "v": 21.5, "f": 1.25, "s": "abc é", "ok": True, "acceleration": [0.1, -2, 3e5]},
    {"t": "2024-05-01T12:30:00.123456789Z", "a": -128, "b": 255, "c": -3, "d": 65535, "e": 7, "g": 8, "h": -9, "u": 2**63 - 1, "more": [1, True, None]},
    {"température": -1.5e-7, "flags": [True, False], "other": "text", "v": None, "s": None},
]  # fmt: skip
SEEDS = [
    *(as_json(v, style) for v in (*ROWS, ROWS) for style in (0, 3, 4)), *(msgpack.packb(v) for v in (*ROWS, ROWS)),
    msgpack.packb(ROWS[0], use_single_float=True), msgpack.packb({"u": 2**64 - 1}), b'{"v":0.1234567890123456789,"f":-1E+5,"h":9223372036854775807}',
]  # fmt: skip
TOKENS = (b"0", b"-0", b"9" * 20, b".", b"e", b"1e400", b"00", b'"', b"\\u0041", b"\\", b"[", b"]", b"{", b"}", b",", b":", b" ", b"\0", b"\xc0", b"\xff",
          b"\xcf", b"\xa1v", b'"v":', b"null", b"true", b"NaN", b"\xed\xa0\x80", b"\xc3\xa9", b"2024-02-30T00:00:00Z", b"\xdf\xff\xff\xff\xff", b"\xdb")  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_mutated_payloads_give_the_same_rows(part):
    for number in range(600 * part, 600 * (part + 1)):
        payloads = [mutated(SEEDS, 7 * number + k, 3, TOKENS) for k in range(7)]
        alike(payloads)
        alike(payloads[:2], PLAIN)


def test_what_devices_mostly_send_goes_through_the_kernels():
    assert alike([payload for payload in SEEDS[:-1] if b"\\u" not in payload]) == 0


@pytest.mark.parametrize("kind", ["json", "msgpack"])
def test_few_payloads_go_through_memory_that_is_ready(kind):
    plain = [{k: v for k, v in row.items() if k in PLAIN.names} for row in ROWS]
    payloads = [as_json(v, 0) if kind == "json" else msgpack.packb(v) for v in (*plain, plain)]
    for form in (kind, "auto"):
        decoder = Decoder(PLAIN, form)
        decoder.prepare()
        for some in (payloads, payloads[:1], payloads[2:], payloads):
            part = decoder._fast._of_few(some)
            part.rows.validate(full=True)
            slow, counts, *_ = decoded(some, PLAIN, form, is_fast=False)
            assert identical(part.rows, slow)
            assert part.counts.tolist() == counts
            kept = part.rows.to_pylist()
            decoder._fast._of_few(payloads[1:2])
            assert part.rows.to_pylist() == kept, "what is in the memory next is not in this batch"
        assert decoder._fast._of_few([*payloads, b"x"]) is None
        assert decoder._fast._of_few(6 * payloads[:3]) is None
        long = {"s": "x" * 5000}
        assert decoder._fast._of_few([msgpack.packb(long)]) is None
        assert alike([as_json(long, 0), msgpack.packb(long)], PLAIN) == 0
    rng = random.Random(5)
    common = [
        {
            "t": 1700000000000000000 + k,
            "v": rng.gauss(0, 1),
            "f": rng.random(),
            "h": rng.getrandbits(62),
            "s": f"d{k}",
        }
        for k in range(500)
    ]
    assert alike([as_json(v, 0) for v in common]) == 0
    assert alike([as_msgpack(v) for v in common]) == 0
    assert alike([as_json(common, 0), as_msgpack(common), as_json(common, 2)]) == 0


def test_mixed_formats_and_what_is_left_stand_in_the_order_of_their_messages():
    payloads = []
    for k in range(300):
        forms = [
            as_json({"h": k}, 0),
            as_msgpack([{"h": k}, {"h": k}]),
            b'{"h": %d, "more": {"a": 1}}' % k,
            b"?",
            b"",
            as_json([], 0),
            b"h,a\n%d,1\n" % k,
        ]
        payloads.append(forms[k * k % 7])
    assert 0 < alike(payloads) < 300
    batch, counts, rejected, _ = decoded(payloads, is_fast=True)
    assert batch["h"].to_pylist() == [k for k, n in enumerate(counts) for _ in range(n)]
    assert [r.number for r in rejected] == sorted(r.number for r in rejected)


def test_rows_for_which_there_was_no_room_are_written_with_more():
    number = pa.schema([("v", pa.int32()), ("s", pa.string())])
    short = [{"v": k} for k in range(3000)]
    payloads = [
        as_msgpack(short),
        *[as_msgpack({"v": 1})] * 20,
        as_json(short, 2),
        as_json([{}] * 3000, 2),
    ]
    assert alike(payloads, number) == 0


def test_many_bytes_are_taken_in_pieces(monkeypatch):
    payloads = [as_json({"s": "x" * (7 * k % 50), "v": k}, 0) for k in range(500)] + [b"{"] * 5
    whole = decoded(payloads, is_fast=True)
    monkeypatch.setattr(fast, "_MOST_BYTES", 3000)
    pieces = decoded(payloads, is_fast=True)
    assert pieces[1:] == whole[1:]
    assert identical(pieces[0], whole[0])


def test_bounds_hold_in_the_kernels_too():
    wide = pa.schema([(f"c{k}", pa.float64()) for k in range(100)])
    for payload in (as_json([{}] * 50_000, 0), msgpack.packb([{}] * 50_000), msgpack.packb([[0] * 1000] * 300), as_json([[0] * 1000] * 300, 0),
                    msgpack.packb([{"x": [1] * 100}] * 3000), as_json([{"x": [1] * 100}] * 3000, 0)):  # fmt: skip
        assert alike([payload], wide) == 1


def test_more_names_than_are_noted_of_one_map():
    many = {f"k{k}": k for k in range(100)}
    alike(
        [
            as_json({**many, "v": 1}, 0),
            msgpack.packb({"v": 1, **many}),
            b'{"k": 1, "k": 2}',
            b"\x82\xa1k\x01\xa1k\x02",
        ]
    )
    assert alike([as_json({**dict(list(many.items())[:20]), "v": 1}, 0)]) == 0


def test_names_that_json_must_escape_are_left():
    odd = pa.schema([('a"b', pa.int32()), ("c", pa.int32())])
    alike([b'{"a\\"b": 1}', b'{"a"b":1}', msgpack.packb({'a"b': 1})], odd)


@pytest.mark.parametrize("payload", [*SEEDS[::2], b'{"v": 1', b"[{}, 1]", b"\x81\xa1v\xd9"])
def test_the_kernels_are_plain_functions(payload, monkeypatch):
    monkeypatch.setattr(fast, "ready", lambda kernel: kernel)
    monkeypatch.setattr(fast, "is_ready", lambda _: True)
    monkeypatch.setattr(few, "ready", Plain)
    for schema in (SCHEMA, PLAIN):
        expected = decoded([payload], schema, is_fast=False)
        found = decoded([payload], schema, is_fast=True)
        assert found[1:] == expected[1:]
        assert identical(found[0], expected[0])


class Plain:
    """A kernel that is not compiled."""

    def __init__(self, kernel):
        self.kernel = kernel

    def bound(self, context):
        return lambda: self.kernel(context)


# ---- decimal numbers


def rounded(ctx):
    set_f64(ctx, 3, nearest(i64(ctx, 0), i64(ctx, 1), i64(ctx, 2)))
    return 0


def compute(digits, exponent, run):
    ctx = np.array([digits, exponent, address(powers()), 0], np.int64)
    run(address(ctx))
    return f64(address(ctx), 3)


@settings(max_examples=3000)
@given(
    st.integers(0, 2**63 - 1) | st.integers(0, 10**6), st.integers(-345, 312) | st.integers(-30, 30)
)
@example(9007199254740993, 0)
@example(9007199254740993, 5)
@example(9223372036854775807, -342)
@example(22250738585072014, -324)
@example(17976931348623157, 292)
@example(17976931348623159, 292)
@example(7205759403792794, 1)
def test_decimals_are_rounded_correctly_or_left(digits, exponent):
    expected = float(f"{digits}e{exponent}")
    for run in (ready(rounded), rounded):
        found = compute(digits, exponent, run)
        assert math.isnan(found) or struct.pack("d", found) == struct.pack("d", expected)
        if 1e-290 < expected < 1e300 and digits < 10**17:
            assert found == expected


def test_decimals_half_way_between_two_floats():
    rng = random.Random(1)
    run = ready(rounded)
    for _ in range(20_000):
        mantissa, power = rng.getrandbits(53) | 1 << 52, rng.randrange(-3, 10)
        exact = (2 * mantissa + 1) << power if power >= 0 else None
        if exact is not None and exact < 2**63:
            assert compute(exact, 0, run) == float(exact)
        value = rng.uniform(-1, 1) * 10.0 ** rng.randrange(-200, 200)
        digits, _, exponent = f"{abs(value):.17e}".replace(".", "").partition("e")
        found = compute(int(digits), int(exponent) - 17, run)
        assert math.isnan(found) or found == float(f"{digits}e{int(exponent) - 17}")


# ---- texts


def valid(ctx):
    return int(is_utf8(i64(ctx, 0), i64(ctx, 1)))


def told(ctx):
    set_i64(ctx, 2, instant(i64(ctx, 0), i64(ctx, 1)))
    return 0


@given(st.binary(max_size=12) | st.text(max_size=8).map(str.encode) | st.lists(st.sampled_from([b"\xed", b"\xa0", b"\x9f", b"\x80", b"\xf4", b"\x8f", b"\x90", b"\xe0", b"\xc1", b"\xc2", b"\xf0", b"\xbf", b"a"]), max_size=6).map(b"".join))  # fmt: skip
def test_utf8_is_what_python_takes_for_it(data):
    try:
        data.decode()
        expected = 1
    except UnicodeDecodeError:
        expected = 0
    memory = np.frombuffer(data + bytes(16), np.uint8)
    ctx = np.array([address(memory), len(data)], np.int64)
    assert ready(valid)(address(ctx)) == valid(address(ctx)) == expected


@given(st.datetimes(min_value=dt.datetime.fromisoformat("1678-01-01"), max_value=dt.datetime.fromisoformat("2261-12-31")),
       st.sampled_from(["", ".5", ".123456789", ".000001"]), st.sampled_from("T "), st.sampled_from(["", "Z"]))  # fmt: skip
def test_instants_are_those_of_the_slow_way(when, fraction, between, zone):
    text = when.strftime(f"%Y-%m-%d{between}%H:%M:%S") + fraction + zone
    memory = np.frombuffer(text.encode() + bytes(16), np.uint8)
    for run in (ready(told), told):
        ctx = np.array([address(memory), len(text), 0], np.int64)
        run(address(ctx))
        assert ctx[2] == time_of(text, pa.timestamp("ns", "UTC"))
