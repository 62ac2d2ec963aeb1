"""Payloads are cut out of streams of bytes, however these arrive; what is none ends them."""

import json
import random

import msgpack
import pyarrow as pa
import pytest

from flowedge.sources.framing import FramingError, framer
from flowedge.sources.payloads import LONGEST

SCHEMA = pa.schema([("n", pa.int64()), ("v", pa.float64())])
READINGS = [{"n": n, "v": n / 2} for n in range(50)]


def stream_of(batches, schema=None):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema or batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


BATCHES = [pa.RecordBatch.from_pylist(READINGS[k : k + 10], SCHEMA) for k in range(0, 50, 10)]
STREAMS = {
    "length": b"".join(len(d := json.dumps(r).encode()).to_bytes(4, "big") + d for r in READINGS),
    "msgpack": b"".join(map(msgpack.packb, READINGS)),
    "lines": b"".join(json.dumps(r).encode() + b"\r\n\n" for r in READINGS),
    "arrow": stream_of(BATCHES),
}


def cut(found, data, sizes):
    out, at = [], 0
    while at < len(data):
        size = sizes()
        out += found.feed(memoryview(data)[at : at + size])
        at += size
    return out + found.end()


def read(payloads):
    out = []
    for one in payloads:
        if isinstance(one, pa.RecordBatch):
            out += one.to_pylist()
        else:
            out.append(msgpack.unpackb(one) if one[0] >= 0x80 else json.loads(one))
    return out


@pytest.mark.parametrize("name", list(STREAMS))
@pytest.mark.parametrize("named", [True, False])
def test_however_the_bytes_come_the_payloads_are_the_same(name, named):
    draw = random.Random(7)
    for most in (1, 3, 50, 100_000):
        found = framer(name if named else "auto", SCHEMA, "auto")
        payloads = cut(found, STREAMS[name], lambda most=most: draw.randint(1, most))
        assert read(payloads) == READINGS
        assert found.held == 0


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_batch_lies_where_the_socket_puts_it(size):
    found = framer("arrow", SCHEMA, "auto")
    data, out, at = STREAMS["arrow"] * 2, [], 0
    while at < len(data):
        room = found.room()
        piece = data[at : at + min(size, len(room) if room is not None else 20)]
        at += len(piece)
        if room is None:
            out += found.feed(piece)
        else:
            room[: len(piece)] = piece
            out += found.filled(len(piece))
    assert read(out + found.end()) == READINGS * 2


def test_texts_of_a_dictionary_come_with_it():
    kinds = pa.schema([("k", pa.dictionary(pa.int32(), pa.string()))])
    batches = [
        pa.RecordBatch.from_arrays([pa.array(texts).dictionary_encode()], schema=kinds)
        for texts in (["a", "b"], ["c", "a", "c"], ["c"])
    ]
    found = framer("arrow", SCHEMA, "auto")
    assert [r["k"] for r in read(cut(found, stream_of(batches), lambda: 11))] == list("abcacc")


def test_lines_of_csv_stand_under_the_names_of_the_first():
    data = b'v,n\n1.5,1\n2.5,2\nv,n\n"3.5",3\n\xff,4\n4.5,4'
    found = framer("lines", SCHEMA, "auto")
    assert found.feed(data) == [b"v,n\n1.5,1\n2.5,2", b'v,n\n"3.5",3', b"v,n\n\xff,4"]
    assert found.end() == [b"v,n\n4.5,4"]


LOST = {
    "length": (LONGEST + 1).to_bytes(4, "big"),
    "msgpack": b"\x81\xa1v\xc1",
    "arrow": b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100),
    "auto": b"\x16\x03\x01\x02\x00",
}


@pytest.mark.parametrize("name", list(LOST))
def test_what_is_no_payload_ends_the_stream_and_those_before_it_are_kept(name):
    good = STREAMS.get(name, b"")[:-8] if name == "arrow" else STREAMS.get(name, b"")
    with pytest.raises(FramingError) as raised:
        framer(name, SCHEMA, "auto").feed(good + LOST[name])
    assert read(raised.value.payloads) == (READINGS if good else [])


@pytest.mark.parametrize("name", [n for n in STREAMS if n != "lines"])
def test_what_is_cut_short_is_told(name):
    found = framer("auto", SCHEMA, "auto")
    data = STREAMS[name] if name != "arrow" else STREAMS[name][:-8]
    found.feed(data[:-3])
    with pytest.raises(FramingError):
        found.end()


@pytest.mark.parametrize("seed", range(200))
def test_random_bytes_do_no_more_than_end_it(seed):
    draw = random.Random(seed)
    name = draw.choice([*STREAMS, "auto"])
    data = bytearray(STREAMS[draw.choice(list(STREAMS))])
    for _ in range(draw.randint(1, 20)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    found = framer(name, SCHEMA, "auto")
    try:
        cut(found, bytes(data), lambda: draw.randint(1, 500))
    except FramingError as error:
        assert error.count in {"framing_lost", "too_long", "cut_short", "unknown_framing"}  # noqa: PT017
