"""Arrow payloads: whole streams whose columns go into the declared types, within bounds."""

import numpy as np
import pyarrow as pa
import pytest

from flowedge.sources.payloads import decode


def stream(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


SCHEMA = pa.schema(
    [("t", pa.timestamp("ns", "UTC")), ("v", pa.float32()), ("n", pa.int16()), ("s", pa.string()), ("b", pa.bool_()), ("x", pa.list_(pa.float64(), 2))]
)  # fmt: skip


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_columns_go_into_the_declared_types(compression):
    table = pa.table(
        {
            "x": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())), "b": [True, None], "s": pa.array(["a", "é"]).dictionary_encode(),
            "n": pa.array([1, 2], pa.uint64()), "v": [0.1, None], "t": pa.array([1, 2], pa.timestamp("us")), "more": [{"a": 1}, None],
        }
    )  # fmt: skip
    batch, bad = decode(stream(table, compression=compression), SCHEMA)
    assert bad == []
    batch.validate(full=True)
    assert batch.schema.equals(SCHEMA)
    assert batch["t"].cast(pa.int64()).to_pylist() == [1000, 2000]
    assert batch["v"].to_pylist() == [float(np.float32(0.1)), None]
    assert batch["s"].to_pylist() == ["a", "é"]
    assert batch["x"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]


def test_several_batches_none_and_absent_columns():
    table = pa.concat_tables([pa.table({"v": [1.0]}), pa.table({"v": [2.0]})])
    assert decode(stream(table), SCHEMA)[0]["v"].to_pylist() == [1.0, 2.0]
    assert decode(stream(pa.table({"v": pa.array([], pa.float64())})), SCHEMA)[0].num_rows == 0
    assert decode(stream(pa.table({"w": [1, 2]})), SCHEMA)[0]["v"].to_pylist() == [None, None]
    whole = pa.table({"t": pa.array([5], pa.int64())})
    assert decode(stream(whole), SCHEMA)[0]["t"].cast(pa.int64()).to_pylist() == [5]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"n": [40_000]}), "`n` holds int64, and a value is not a whole number that fits into int16"),
        (pa.table({"n": [1.5]}), "`n` holds double, and a value is not"),
        (pa.table({"n": ["1"]}), "`n` holds string, which is not a whole number"),
        (pa.table({"v": [1e39]}), "a value of `v` is not a number that fits into 32 bits"),
        (pa.table({"v": [True]}), "`v` holds bool, which is not a number"),
        (pa.table({"b": [1]}), "`b` holds int64, which is not true or false"),
        (pa.table({"s": [b"a"]}), "`s` holds binary, which is not text"),
        (pa.table({"x": [[1.0]]}), "`x` holds list<item: double>, and a value is not a list of 2, each a number"),
        (pa.table({"t": pa.array([10**10], pa.timestamp("s"))}), "`t` holds timestamp[s], and a value is not a time"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"]), "two columns are named `n`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_turned_away(table, words):
    batch, bad = decode(stream(table), SCHEMA)
    assert batch.num_rows == 0
    assert words in bad[0].reason


def test_damage_is_told():
    whole = stream(pa.table({"v": [1.0, 2.0]}))
    assert "no end mark" in decode(whole[:-8], SCHEMA)[1][0].reason
    assert "no end mark" in decode(whole + b"x", SCHEMA)[1][0].reason
    for at in range(0, len(whole) - 8, 3):
        spoiled = bytearray(whole)
        spoiled[at] ^= 0xFF
        batch, bad = decode(bytes(spoiled), SCHEMA, "arrow")
        batch.validate(full=True)
        assert bad or batch.schema.equals(SCHEMA)


def test_what_unpacks_to_far_more_is_refused():
    part = pa.table({"v": np.zeros(5 << 20)})
    zeros = stream(pa.concat_tables([part, part]), compression="zstd")
    assert decode(zeros, SCHEMA)[1][0].reason == "it unpacks to more than 64 MiB"
    nothing = stream(pa.table({"w": pa.nulls(1 << 27)}))
    assert "rows would take" in decode(nothing, SCHEMA)[1][0].reason
    assert decode(stream(pa.table({"w": pa.nulls(1 << 29)})), SCHEMA)[1][0].reason.startswith(
        "it says that a batch has 536,870,912 rows"
    )
