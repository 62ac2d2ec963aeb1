"""Files of msgpack: payloads one after the other, read from any row on, and told where they are damaged."""

import gzip

import msgpack
import numpy as np
import pyarrow as pa
import pytest

from flowedge.lang.errors import SourceError
from flowedge.runtime.quarantine import quarantine_sink
from flowedge.sources import catalog
from flowedge.sources.contract import BATCH_ROWS, REJECTED, Position

NUMBER = pa.schema([("v", pa.float64())])


def source(path, schema=NUMBER, **arguments):
    return catalog.get("msgpack")(str(path), declared=schema, **arguments)


def test_a_file_is_a_sequence_of_payloads_and_reading_goes_on_from_any_row(tmp_path):
    path = tmp_path / "a.msgpack.gz"
    values = [{"v": float(i)} for i in range(BATCH_ROWS)]
    packed = [msgpack.packb(v) for v in values]
    packed += [
        msgpack.packb([{"v": 1.0}] * 50_000),
        msgpack.packb({"v": np.ones(30_000).tobytes()}),
    ]
    path.write_bytes(gzip.compress(b"".join(packed), 1))
    whole = [v for b, _ in source(path).batches() for v in b["v"].to_pylist()]
    assert len(whole) == BATCH_ROWS + 80_000
    assert whole[-80_001:] == [BATCH_ROWS - 1.0] + [1.0] * 80_000
    for row in (1, BATCH_ROWS, BATCH_ROWS + 60_000, len(whole)):
        rest = [
            v
            for b, _ in source(path).batches(None, None, Position(0, row))
            for v in b["v"].to_pylist()
        ]
        assert rest == whole[row:]


def test_bad_readings_stop_or_are_kept(tmp_path):
    path = tmp_path / "a.msgpack"
    path.write_bytes(
        msgpack.packb([{"v": 1.0}, {"v": "x"}]) + b"\x81\xa1v\xa1\xff" + msgpack.packb({"v": 2.0})
    )
    with pytest.raises(SourceError, match="reading 2: `v` is not a number"):
        list(source(path).batches())
    one = source(path, on_error="skip")
    assert [v for b, _ in one.batches() for v in b["v"].to_pylist()] == [1.0, 2.0]
    kept = one.rejects.take()
    assert kept["row"].to_pylist() == [2, 3]
    assert kept["reason"].to_pylist() == ["`v` is not a number", "a text is not UTF-8"]


def test_values_that_do_not_fit_go_by_what_the_pipeline_says(tmp_path):
    path = tmp_path / "a.msgpack"
    path.write_bytes(msgpack.packb([{"n": 300, "k": 1}, {"n": 1, "k": 300}]))
    schema = pa.schema([("n", pa.uint8()), ("k", pa.int8())])
    one = source(path, schema, fitting={"n": "clamp", "k": "reject"})
    assert [r for b, _ in one.batches() for r in b.to_pylist()] == [{"n": 255, "k": 1}]
    assert one.rejects.take_altered() == {"n": (0, 1)}
    assert one.rejects.take()["reason"].to_pylist() == [
        "`k` is not a whole number that fits into int8"
    ]


def test_a_file_that_cannot_be_cut_into_payloads_is_said(tmp_path):
    path = tmp_path / "a.msgpack"
    path.write_bytes(msgpack.packb({"v": 1.0})[:-1])
    with pytest.raises(SourceError, match="cut short: the payload at byte 0"):
        list(source(path, on_error="skip").batches())
    path.write_bytes(b"\x80\xc1")
    with pytest.raises(SourceError, match="the payload at byte 1: byte 2 is 0xc1"):
        list(source(path).batches())
    with pytest.raises(SourceError, match="does not say its fields"):
        list(source(path, None).batches())


def test_a_quarantine_file_reads_back(tmp_path):
    batch = pa.record_batch([["a.csv"], [3], ["not a time"], ["é"]], schema=REJECTED)
    sink = quarantine_sink(str(tmp_path / "bad.msgpack"))
    sink.open(batch.schema)
    sink.write(batch)
    sink.close()
    (found,) = [b for b, _ in source(tmp_path / "bad.msgpack", REJECTED).batches()]
    assert found.equals(batch)
