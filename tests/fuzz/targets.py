"""What is attacked: for each target valid inputs, and a function that takes any bytes.

Success and what FlowEdge reports on purpose are allowed. Everything else is a violation: another exception,
`InternalError`, a crash, more than 1 s of processor time, memory that grows by more than 200 MB.
"""

import io
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz.mutate import forged, mutated
from support.identical import identical

from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import FlowEdgeError, InternalError
from flowedge.models.manifest import parse

if TYPE_CHECKING:
    from flowedge.session.session import Session

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """Something that reads bytes from outside."""

    seeds: Callable[[], list[bytes]]
    one_input: Callable[[bytes], object]
    guided: tuple[str, ...] = ()
    """Packages that coverage guides the search in; none: written in C++, mutations only."""
    make: Callable[[list[bytes], int, int], bytes] = mutated
    """The input of a number and a seed."""


def expected(function: Callable[[bytes], object], data: bytes) -> None:
    """Call; what FlowEdge reports on purpose is no violation."""
    try:
        function(data)
    except InternalError:
        raise
    except (FlowEdgeError, FlowError):
        pass


# ---- the language


@cache
def pipelines() -> list[bytes]:
    """Whole pipelines, and each statement alone."""
    files = [p.read_bytes() for p in sorted((ROOT / "pipelines").glob("*.flow"))]
    blocks = (ROOT / "docs" / "language.md").read_text("utf-8").split("```flow\n")[1:]
    return [f for f in files if len(f) < 4000] + [b.split("```")[0].encode() for b in blocks]


def grammar(data: bytes) -> None:
    """Any text gives a tree or diagnostics that can be drawn."""
    from flowedge.lang.parse import decode, parse  # noqa: PLC0415

    try:
        parse(decode(data), "fuzz.flow")
    except FlowError as error:
        _drawn(error)


def checker(data: bytes) -> None:
    """Any text gives a graph or diagnostics; no file is opened but those of the catalogue."""
    from support.flow import CATALOG  # noqa: PLC0415

    from flowedge.graph.check import check  # noqa: PLC0415
    from flowedge.lang.parse import decode  # noqa: PLC0415

    try:
        check(decode(data), "fuzz.flow", params={}, catalog=CATALOG, imports=_no_import)
    except FlowError as error:
        _drawn(error)


def _drawn(error: FlowError) -> None:
    from flowedge.lang.render import render_all  # noqa: PLC0415

    assert error.diagnostics
    render_all(error.diagnostics)


def _no_import(name: str) -> str:
    raise FileNotFoundError(name)


def layout(data: bytes) -> None:
    """What parses is laid out, parses to the same tree, and is laid out the same again."""
    from flowedge.lang.format import format as tidy  # noqa: PLC0415
    from flowedge.lang.parse import decode, parse  # noqa: PLC0415

    text = decode(data)
    tree = parse(text)
    out = tidy(text)
    assert parse(out) == tree
    assert tidy(out) == out


# ---- payloads

FIELDS = pa.schema(
    [
        ("time", pa.timestamp("ns")), ("v", pa.float64()), ("f", pa.float32()), ("n", pa.int16()), ("s", pa.string()), ("b", pa.bool_()),
        ("x", pa.list_(pa.float64(), 2)),
    ]
)  # fmt: skip


def payloads() -> list[bytes]:
    """Each form, each type, as msgpack."""
    return [
        msgpack.packb(v)
        for v in (
            _ROW,
            [_ROW, {}, _ROW],
            _COLUMNS,
            {"time": "2024-01-01T00:00:00Z"},
            {"time": msgpack.Timestamp(1, 2)},
        )
    ]


_ROW = {
    "time": 5,
    "v": 1.5,
    "f": 2,
    "n": -3,
    "s": "é",
    "b": True,
    "x": [1.0, None],
    "more": {"a": [1]},
}
_COLUMNS = {
    "time": bytes(16),
    "v": bytes(16),
    "f": bytes(8),
    "n": bytes(4),
    "s": ["a", None],
    "b": b"\0\1",
    "x": bytes(32),
}


def texts() -> list[bytes]:
    """The same as JSON, and lines of CSV."""
    lists = {
        "time": [1, None],
        "v": [1, 2.5],
        "f": [1e9, -0.0],
        "s": ["a", "\u00e9"],
        "x": [[1, 2], [3, 4]],
    }
    return [
        json.dumps(_ROW).encode(), json.dumps([_ROW, {}, _ROW], ensure_ascii=False).encode(), json.dumps(lists).encode(),
        b'{"time": "2024-01-01T00:00:00.25Z", "v": 1.7976931348623157e308, "n": -32768}', b'\xef\xbb\xbf [ {"s":"a\\n\\ud83d\\ude00"} ]',
        b"2024-01-01T00:00:00Z,1.5,2,-3,a,true,1,2\n5,,,,,,,\n", b'v,x_0,x_1,s\n1,2,3,"a ""b"""\n4,5,6,\n',
    ]  # fmt: skip


def binaries() -> list[bytes]:
    """The same as CBOR, with tags and without lengths, and as streams of Arrow."""
    import cbor2  # noqa: PLC0415

    arrays = {
        "time": cbor2.CBORTag(79, bytes(16)), "v": cbor2.CBORTag(84, bytes(4)), "f": cbor2.CBORTag(82, bytes(16)),
        "n": cbor2.CBORTag(72, b"\1\xff"), "s": ["a", None], "b": b"\0\1", "x": cbor2.CBORTag(86, bytes(32)),
    }  # fmt: skip
    out = [
        cbor2.dumps(v)
        for v in (
            _ROW,
            cbor2.CBORTag(55799, [_ROW, {}, _ROW]),
            _COLUMNS,
            arrays,
            {"time": cbor2.CBORTag(1, 5.5), "v": 2**70},
        )
    ]
    out.append(
        bytes.fromhex("bf61739f7f6161ff6162ff6176f93c0061625f41004101ff6474696d65c074")
        + b"2013-03-21T20:04:00Z\xff"
    )
    for compression in (None, "zstd"):
        sink = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.ipc.new_stream(sink, _table().schema, options=options) as writer:
            writer.write_table(_table(), 25)
        out.append(sink.getvalue())
    return out


def payload(data: bytes) -> None:
    """Rows that hold, or readings turned away: the slow way alone, and by kernels among other messages."""
    from flowedge.sources.payloads import Decoder  # noqa: PLC0415

    decoder = Decoder(FIELDS, extra=pa.schema([("k", pa.string())]))
    kernels = decoder._fast.kernels.copy()
    decoder._fast.kernels.clear()
    alone = decoder.add(data, k="a")
    batch, bad = decoder.take(), list(decoder.rejected)
    batch.validate(full=True)
    assert batch.schema.equals(decoder.schema)
    assert batch.num_rows == alone
    assert decoder.seen == alone + len(bad)
    decoder.rejected.clear()
    decoder._fast.kernels |= kernels
    decoder.prepare()
    other = _OTHERS[len(data) % len(_OTHERS)]
    counts = decoder.add_many([other, data, other] * 2, {"k": list("abc") * 2})
    several = decoder.take()
    several.validate(full=True)
    assert counts.tolist() == [1, alone, 1] * 2
    assert [r[1:] for r in decoder.rejected] == [r[1:] for r in bad] * 2
    assert identical(several.slice(1, alone).drop_columns(["k"]), batch.drop_columns(["k"]))


_OTHERS = (b'{"v": 2, "s": "x"}', msgpack.packb({"v": 2.5, "s": "y"}))


# ---- files

_FOLDER: list[tempfile.TemporaryDirectory[str]] = []


def _spoiled(name: str) -> Path:
    if not _FOLDER:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        _FOLDER.append(tempfile.TemporaryDirectory(dir=memory))
    return Path(_FOLDER[0].name) / name


def _read(connector: str, data: bytes, declared: pa.Schema | None = None) -> None:
    from flowedge.sources import catalog  # noqa: PLC0415
    from flowedge.sources.contract import Comparison, Predicate  # noqa: PLC0415

    late = Predicate((Comparison("time", ">", 10**7),), always=("time",))

    path = _spoiled(f"a.{connector}")
    path.write_bytes(data)
    for on_error in ("stop", "skip"):
        source = catalog.get(connector)(str(path), declared=declared, on_error=on_error)
        try:
            for batch, _ in source.batches(None, late if connector == "parquet" else None):
                batch.validate(full=True)
        except FlowEdgeError as error:
            if isinstance(error, InternalError):
                raise


def _table() -> pa.Table:
    i = np.arange(60)
    return pa.table(
        {
            "time": pa.array(i * 10**6).cast(pa.timestamp("ns")), "v": i / 7, "s": [f"é{k}" for k in i],
            "d": pa.array([f"{k % 3}" for k in i]).dictionary_encode(), "x": pa.array([[1.0, 2.0]] * 60, pa.list_(pa.float64(), 2)),
            "l": pa.array([[k] * (k % 3) for k in i]),
        }
    )  # fmt: skip


def arrows() -> list[bytes]:
    """Files and streams, packed and not."""
    out = []
    for opener in (pa.ipc.new_file, pa.ipc.new_stream):
        for compression in (None, "zstd", "lz4"):
            sink = io.BytesIO()
            options = pa.ipc.IpcWriteOptions(compression=compression)
            with opener(sink, _table().schema, options=options) as writer:
                writer.write_table(_table(), 25)
            out.append(sink.getvalue())
    return out


def parquets() -> list[bytes]:
    """Encodings and codecs; with checksums nothing behind them would be reached, so most have none."""
    out = []
    for options in (
        {"compression": "none"}, {"compression": "zstd"}, {"compression": "snappy", "write_page_checksum": True},
        {"use_dictionary": False, "column_encoding": {"time": "DELTA_BINARY_PACKED"}, "data_page_version": "2.0"},
    ):  # fmt: skip
        sink = io.BytesIO()
        table = (
            _table().select(["time", "v", "s", "l"]) if "column_encoding" in options else _table()
        )
        pq.write_table(table, sink, row_group_size=25, **options)
        out.append(sink.getvalue())
    return out


def csvs() -> list[bytes]:
    """Quotes, line ends, missing cells."""
    return [
        b"time,v,s\n2024-05-01,1.5,a\n2024-05-02,,b\n" * 3, b'v,s\r\n1,"a ""b"", c"\r\n2,x\r\n', b"a;b\n1,5;2\n", "é,温\n1,2\n".encode(),
        b"time,v\n" + b"".join(b"2024-05-01T00:00:%02d.5Z,%d\n" % (k, k) for k in range(60)),
    ]  # fmt: skip


def lines() -> list[bytes]:
    """Objects of each kind of field."""
    rows = [
        {
            "time": "2024-05-01T00:00:00Z",
            "v": k / 3,
            "s": "é",
            "b": True,
            "x": [1, 2.5],
            "o": {"a": None},
        }
        for k in range(20)
    ]
    return ["".join(json.dumps(r) + "\n" for r in rows).encode(), b'{"v": 1}\n{"v": "x"}\n\n{}\n']


def archives() -> list[bytes]:
    """Arrays with names, packed and not."""
    out = []
    for save in (np.savez, np.savez_compressed):
        sink = io.BytesIO()
        save(sink, t=np.arange(50), v=np.arange(50.0), s=np.array(["a", "bc"] * 25))
        out.append(sink.getvalue())
    return out


def sounds() -> list[bytes]:
    """A recording of two channels."""
    import soundfile  # noqa: PLC0415

    sink = io.BytesIO()
    soundfile.write(sink, np.zeros((300, 2)), 8000, format="WAV")
    return [sink.getvalue()]


def clips() -> list[bytes]:
    """Three small frames, in several containers."""
    from support.clips import write  # noqa: PLC0415

    found = []
    for form, codec in (
        ("mp4", "libx264"),
        ("avi", "mpeg4"),
        ("matroska", "libvpx"),
        ("mpegts", "mpeg2video"),
    ):
        sink = io.BytesIO()
        write(sink, 3, size=(32, 32), rate=25, form=form, codec=codec)
        found.append(sink.getvalue())
    return found


# ---- models


def networks() -> list[bytes]:
    """ONNX models of a few operators: their weights inside, in constants, and in a branch."""
    import onnx  # noqa: PLC0415
    from onnx import helper, numpy_helper  # noqa: PLC0415

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 2, 10])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    yes = numpy_helper.from_array(np.array(True), "yes")
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [y.__class__(name="z", type=y.type)])  # fmt: skip
    chains: list[tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = [
        ([helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1]), helper.make_node("GlobalAveragePool", ["c"], ["y"])], [weight("w", 3, 2, 3)]),
        ([helper.make_node("Constant", [], ["k"], value=weight("", 10, 4)), helper.make_node("MatMul", ["x", "k"], ["y"])], []),
        ([helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)], [yes]),
    ]  # fmt: skip
    out = []
    for nodes, weights in chains:
        graph = helper.make_graph(nodes, "net", [x], [y], weights)
        opset = [helper.make_opsetid("", 18)]
        out.append(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    return out


def network(data: bytes) -> None:
    """A model that is looked through, and run where it may be."""
    from flowedge.models.onnx import Session  # noqa: PLC0415

    session = Session(data, "net.onnx")
    if [t.shape for t in session.info.inputs] == [(None, 2, 10)]:
        session([np.zeros((16, 2, 10), np.float32)])


def manifests() -> list[bytes]:
    """All that a manifest may hold."""
    note = b'{"channels": ["a", "b"], "unit": ["mV", "g"], "mean": [1, 2.5e-3], "std": 4}'
    head = b'{"file": "net.pt2", "rate": 100, "labels": ["x", "\\u00e4"], "output": "softmax", '
    return [b"{}", head + b'"inputs": [' + note + b", {}]}"]


DECLARED = pa.schema([("time", pa.timestamp("ns", "UTC")), ("v", pa.float64())])

# ---- checkpoints

FLOWS = (
    """source s (time: time, k: string, v: f64) from given()
    key k
    late 2 s
    duplicates last
stream w = s | window 4 s | aggregate mean(v) as m, count() as n
sink w to expected()
sink s | derive d = v - lag(v, 1) | select d to expected() as d
""",
    """source s (time: time, k: string, v: f64, t: string) from given()
    key k
    late 2 s per key
    expire key after 5 s
    max keys 2
sink s | window 4 s every 2 s | aggregate p50(v) as m, last(t) as t to expected() as a
sink s | derive a = sum(v) over 3 s, b = p50(v) over 3 samples, c = lag(t, 2), d = max(v) over 4 samples,
    e = lead(v, 2), f = p50(v) over 2 s to expected() as b
""",
    """source s (time: time, k: string, v: f64, t: string) from given()
    key k
    on silence 1 s
source e (time: time, k: string, n: i64) from given()
    key k
sink s | split gap 1500 ms | aggregate p50(v) as m, count() as n to expected() as a
sink s | split at e from -1 s to 1 s | aggregate mean(v) as m to expected() as b
sink s | join e within 2 s nearest to expected() as c
sink s | key none | select v | join e within 2 s to expected() as d
sink s | detect peaks(v, threshold=3, apart=1 s) to expected() as f
sink s | compress swing(0.5) on v to expected() as g
sink s | derive was = lag(t, 1) | key was | derive n = count(v) over 3 samples to expected() as h
sink s.silent to expected() as i
""",
)
"""State of most kinds: rings in records and in the arena, heaps, lines of keys, rows that wait."""


@cache
def states() -> list[tuple[object, bytes]]:
    """Plans, and a snapshot of each in the middle of its rows."""
    from support.flow import CATALOG  # noqa: PLC0415

    from flowedge.runtime.plan import compile_flow  # noqa: PLC0415

    out = []
    for flow in FLOWS:
        plan = compile_flow(text=flow, catalog=CATALOG)
        session = plan.open()
        _pushed(session, 0)
        out.append((plan, session.snapshot()))
    return out


def _pushed(session: "Session", first: int) -> None:
    """Rows for each source, some out of order, with peaks and silences."""
    i = np.arange(first, first + 40)
    time = pa.array((i ^ (i % 7 == 3)) * 10**9 // 3).cast(pa.timestamp("ns", "UTC"))
    keys, texts = [f"k{q % 3}" for q in i], [f"t{q % 5}" for q in i]
    rows = pa.record_batch({"time": time, "k": keys, "v": i % 11 / 2.0, "t": texts})
    session.push("s", rows)
    if "e" in session.sources:
        rows = pa.record_batch({"time": time, "k": keys, "n": i}).slice(0, 40)
        session.push("e", rows.take(pa.array(np.arange(0, 40, 4))))


def checkpoints() -> list[bytes]:
    """The bodies of snapshots, without their front: the check is made right again after each change."""
    return [state[56:] for _, state in states()]


def checkpoint(data: bytes) -> None:
    """Bytes whose check is right, and anything behind it: a session that goes on to the end, or a report."""
    from flowedge.session.session import Session  # noqa: PLC0415

    plan, whole = next(
        (one for one in states() if one[0].program.digest.encode() in data[:200]), states()[0]
    )
    front = whole[:16] + len(data).to_bytes(8, "little")
    check = zlib.crc32(data, zlib.crc32(front)).to_bytes(4, "little") + bytes(28)
    session = Session.restore(plan.program, front + check + data)
    _pushed(session, 40)
    session.snapshot()
    session.finish()


_LANGUAGE = ("flowedge.lang",)
TARGETS = {
    "grammar": Target(pipelines, grammar, _LANGUAGE),
    "checker": Target(pipelines, checker, ("flowedge.lang", "flowedge.graph")),
    "format": Target(pipelines, layout, _LANGUAGE),
    "payload": Target(payloads, payload, ("flowedge.sources.payloads",)),
    "payload_text": Target(texts, payload, ("flowedge.sources.payloads",)),
    "payload_binary": Target(binaries, payload, ("flowedge.sources.payloads",)),
    "checkpoint": Target(checkpoints, checkpoint, ("flowedge.session",)),
    "state": Target(checkpoints, checkpoint, make=forged),
    "arrow": Target(arrows, lambda d: _read("arrow", d)),
    "parquet": Target(parquets, lambda d: _read("parquet", d)),
    "csv": Target(csvs, lambda d: _read("csv", d)),
    "csv_declared": Target(csvs, lambda d: _read("csv", d, DECLARED)),
    "jsonl": Target(lines, lambda d: _read("jsonl", d)),
    "jsonl_declared": Target(lines, lambda d: _read("jsonl", d, DECLARED)),
    "msgpack": Target(payloads, lambda d: _read("msgpack", d, FIELDS)),
    "npz": Target(archives, lambda d: _read("npz", d)),
    "wav": Target(sounds, lambda d: _read("wav", d)),
    "video": Target(clips, lambda d: _read("video", d)),
    "onnx": Target(networks, network),
    "manifest": Target(manifests, lambda d: parse(d, "m"), ("flowedge.models.manifest",)),
}
