"""A message of a stranger costs little more than its bytes: in memory, in all formats, where kernels read it and where they give it up."""

import json
import tracemalloc

import cbor2
import msgpack
import numpy as np
import pyarrow as pa
import pytest

from flowedge.sources.payloads import LONGEST, MOST_VALUES, Decoder

WIDE = pa.schema(
    [*((f"c{k}", pa.float64()) for k in range(200)), *((f"s{k}", pa.string()) for k in range(20))]
)
MIB = 1 << 20


def stream(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


HOSTILE = {
    "empty maps": msgpack.packb([{}] * (MOST_VALUES // 4)),
    "empty lists": b"\xdd" + (MOST_VALUES // 4).to_bytes(4, "big") + b"\x90" * (MOST_VALUES // 4),
    "many empty lists": b"\xdd" + (4 * MIB).to_bytes(4, "big") + b"\x90" * (4 * MIB),
    "a list that says it is long": b"\xdd\xff\xff\xff\xff" + bytes(100),
    "a text that says it is long": b"\x81\xa2s0\xdb\xff\xff\xff\xff",
    "one column of many": msgpack.packb({"c0": bytes(4 * MIB)}),
    "json of empty maps": b"[" + b"{}," * (MOST_VALUES // 2) + b"{}]",
    "json of brackets": b"[" * (8 * MIB),
    "json of zeros": b"[" + b"0," * (4 * MIB) + b"0]",
    "json of one number": b'{"c0":' + b"1" * (8 * MIB) + b"}",
    "json of texts": b'["' + b'","' * (2 * MIB) + b'"]',
    "json of escapes": b'{"s0":"' + b"\\n" * (2 * MIB) + b'"}',
    "json of quotation marks": b'{"s0":' + b'"' * (4 * MIB),
    "cbor of empty maps": b"\x9a" + (MOST_VALUES // 8).to_bytes(4, "big") + b"\xa0" * (MOST_VALUES // 8),
    "cbor without an end": b"\x9f" + b"\x80" * MIB,
    "cbor of chunks": b"\x7f" + b"\x60" * MIB,
    "cbor of a typed array": cbor2.dumps({"c0": cbor2.CBORTag(64, bytes(MIB))}),
    "csv of commas": b"1" + b"," * (8 * MIB),
    "csv of line ends": b"1" + b"\n" * (8 * MIB),
    "csv of empty rows": (b"1" + b"," * 279 + b"\n") * 900,
    "csv of one column of many": b"c0\n" + b"1\n" * (MOST_VALUES // 2),
    "csv of what does not fit": b"c0\n" + b"x\n" * 50_000,
    "arrow of nulls": stream(pa.table({"c0": pa.nulls(MIB)})),
    "arrow that unpacks": stream(pa.table({"c0": np.zeros(7 * MIB)}), compression="zstd"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_payload_costs_little(name):
    payload = HOSTILE[name]
    decoder = Decoder(WIDE, "cbor" if name.startswith("cbor") else "auto")
    decoder.prepare()
    before = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    try:
        decoder.add(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = pa.default_memory_pool().bytes_allocated() - before
    assert decoder.seen > 0
    assert peak < 40 * MIB + 8 * len(payload)
    assert held < 40 * MIB + 32 * len(payload)
    assert sum(len(r.reason) + len(r.text) for r in decoder.rejected[:1]) < 500


def test_a_payload_that_is_too_long_is_refused():
    payload = b'{"s0": "' + b"x" * LONGEST + b'"}'
    for kind in ("json", "cbor", "csv", "arrow"):
        decoder = Decoder(WIDE, kind)
        assert decoder.add(payload) == 0
        assert decoder.rejected[0].reason == "it is longer than 64 MiB"


def test_counts_are_right_where_a_payload_has_as_many_values_as_it_may():
    number = pa.schema([("v", pa.int64())])
    readings = [{"v": k} for k in range((MOST_VALUES - 1) // 3)]
    for payload in (msgpack.packb(readings), json.dumps(readings).encode()):
        decoder = Decoder(number)
        decoder.prepare()
        assert decoder.add(payload) == len(readings)
        assert decoder.add(payload[:1] + payload[1:].replace(b"v", b"w")) == len(readings)
    assert decoder.add(json.dumps([*readings, *readings]).encode()) == 0
    assert decoder.rejected[-1].reason.startswith("it has more than")
