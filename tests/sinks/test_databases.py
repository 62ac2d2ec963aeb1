"""Tables of real databases: what stands in them, what fits into them, and what is refused."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest
from support.command import recording

from flowedge.lang.errors import FlowEdgeError, SinkError
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run
from flowedge.sinks.catalog import get

UTC = pa.timestamp("ns", "UTC")


def run(root, text, **more):
    (root / "p.flow").write_text(text)
    return Run(compile_flow(root / "p.flow"), **more)()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "in.arrow", v=[1.0, 2.0, 3.0])
    return tmp_path


FLOW = 'source s (time, v: f64) from arrow("in.arrow")\nsink s to {}\n'


@pytest.mark.parametrize("kept", [False, True])
def test_rows_are_added_by_each_run_and_no_line_is_left_behind(place, database, kept):
    for _ in range(2):
        report = run(place, FLOW.format(database.sink()), checkpoint=place / "state" if kept else None)  # fmt: skip
        assert report.is_complete
    assert report.sinks["s"].peer.delivered == 3
    assert report.sinks["s"].latency["max_ms"] > 0
    assert sorted(v for (v,) in database.rows("select v from imu")) == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]  # fmt: skip
    assert database.rows("select * from flowedge_places") == []


def batch(**columns):
    return pa.record_batch(columns)


EVERY = {
    "time": pa.array([0, 1_700_000_000_123_456_789, -1], UTC),
    "i8": pa.array([-128, 127, None], pa.int8()),
    "i16": pa.array([-(2**15), 1, None], pa.int16()),
    "i32": pa.array([-(2**31), 1, None], pa.int32()),
    "i64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "u8": pa.array([255, 0, None], pa.uint8()),
    "u16": pa.array([2**16 - 1, 0, None], pa.uint16()),
    "u32": pa.array([2**32 - 1, 0, None], pa.uint32()),
    "u64": pa.array([2**63 - 1, 0, None], pa.uint64()),
    "f32": pa.array([0.5, float("nan"), None], pa.float32()),
    "f64": pa.array([0.1, float("inf"), float("nan")], pa.float64()),
    "yes": pa.array([True, False, None]),
    "text": pa.array(["é 'x'\n", "", None]),
    "label": pa.array(["a", "b", None]).dictionary_encode(),
    "raw": pa.array([b"\0\xff", b"", None]),
    "pair": pa.array([[1.5, 2.5], None, [0.0, -1.0]], pa.list_(pa.float32(), 2)),
    "many": pa.array([[1, 2, 3], [], None], pa.list_(pa.int64())),
    "frame": pa.array([[[1.0, 2.0]], [[3.0, 4.0]], None], pa.list_(pa.list_(pa.float64(), 2), 1)),
}


def as_told(value):
    """A value of any of the databases as another would tell it."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [as_told(v) for v in value]
    if isinstance(value, str) and value[:1] == "[":
        return json.loads(value)
    return value


def test_every_type_comes_back(database, tmp_path):
    rows = pa.record_batch(EVERY)
    sink = get(database.name)(database.address, table='a "table"')
    sink.stream = "test"
    sink.open(rows.schema)
    sink.write(rows)
    sink.abort()
    assert database.rows("select rows from flowedge_places") == [(3,)]
    names = [n for n in EVERY if n != "time"]
    columns = ", ".join(f'"{n}"' for n in names)
    found = database.rows(f'select {columns} from "a ""table""" order by "time"')
    nothing = [None] * 7
    wanted = {
        1: [-128, -(2**15), -(2**31), -(2**63), 255, 2**16 - 1, 2**32 - 1, 2**63 - 1, 0.5, 0.1, True, "é 'x'\n", "a",
            b"\0\xff", [1.5, 2.5], [1, 2, 3], [[1.0, 2.0]]],
        2: [127, 1, 1, 2**63 - 1, 0, 0, 0, 0, None, float("inf"), False, "", "b", b"", None, [], [[3.0, 4.0]]],
        0: [*nothing, None, None, None, None, None, None, None, [0.0, -1.0], None, None],
    }  # fmt: skip
    for at, row in wanted.items():
        assert as_told(found[at]) == row


def test_times_are_as_fine_as_the_database_has_them(database):
    sink = get(database.name)(database.address, table="imu")
    sink.open(pa.schema([pa.field("time", UTC)]))
    sink.write(batch(time=EVERY["time"]))
    sink.abort()
    match database.name:
        case "sqlite":
            found = sorted(database.rows('select "time" from imu'))
            assert found[0] == ("1969-12-31T23:59:59.999999999Z",)
            assert found[2] == ("2023-11-14T22:13:20.123456789Z",)
        case "duckdb":
            found = database.rows('select epoch_ns("time") as t from imu order by t')
            assert found == [(-1,), (0,), (1_700_000_000_123_456_789,)]
        case "postgres":
            found = database.rows('select "time" from imu order by 1')
            assert found[0][0] == dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
            assert found[2][0] == dt.datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=dt.UTC)


def test_a_table_of_ones_own_may_have_wider_types(cluster):
    cluster.do("drop table if exists wide", 'create table wide (id serial, "time" bigint not null, v float8, n bigint, x varchar)')  # fmt: skip
    sink = get("postgres")(cluster.address, table="public.wide")
    rows = batch(
        time=EVERY["time"], v=pa.array([1, 2, None], pa.float32()), n=pa.array([1, 2, 3], pa.int8()), x=EVERY["label"]
    )  # fmt: skip
    sink.open(rows.schema)
    sink.write(rows)
    sink.finish()
    found = cluster.rows('select id, "time", v, n, x from wide order by id')
    assert found == [(1, 0, 1.0, 1, "a"), (2, 1_700_000_000_123_456_789, 2.0, 2, "b"), (3, -1, None, 3, None)]  # fmt: skip


def test_a_number_that_is_too_large_is_named(database):
    if database.name == "duckdb":
        pytest.skip("DuckDB has whole numbers of 64 bits without a sign")
    sink = get(database.name)(database.address, table="imu")
    rows = batch(n=pa.array([2**63], pa.uint64()))
    sink.open(rows.schema)
    with pytest.raises(SinkError, match=r"`n` has a number of 2\^63 or more"):
        sink.write(rows)
    sink.abort()


WRONG = {
    "create table imu (\"time\" {time})": "it has no `v`",
    "create table imu (\"time\" {time}, v text)": "`v` is text there and should be",
    "create table imu (\"time\" {time}, v {double}, who text not null)": "it needs `who`, which the stream has not",
}  # fmt: skip


@pytest.mark.parametrize("made", WRONG)
def test_a_table_with_other_columns_is_refused_before_a_row_is_read(place, database, made):
    kinds = {"sqlite": ("text", "real"), "duckdb": ("timestamp_ns", "double"), "postgres": ("timestamptz", "float8")}  # fmt: skip
    time, double = kinds[database.name]
    database.do(made.format(time=time, double=double))
    wanted = WRONG[made].replace("text", "(?i:text|varchar)")
    with pytest.raises(SinkError, match=rf"`imu` in {database.name} .*does not take the rows: {wanted}"):  # fmt: skip
        run(place, FLOW.format(database.sink()))
    assert database.rows("select v from imu" if "v " in made else 'select "time" from imu') == []


def test_a_new_table_gets_an_index(place, database):
    report = run(place, FLOW.format(database.sink(more=", index=[v, time]")))
    assert report.sinks["s"].peer.delivered == 3
    listed = {
        "sqlite": "select sql from sqlite_master where type = 'index' and tbl_name = 'imu'",
        "duckdb": "select sql from duckdb_indexes where table_name = 'imu'",
        "postgres": "select indexdef from pg_indexes where tablename = 'imu'",
    }[database.name]
    ((sql,),) = database.rows(listed)
    assert "v" in sql.split("(")[1]
    assert "time" in sql.split("(")[1]


def test_two_sinks_fill_two_tables_of_one_database(place, database):
    text = FLOW.format(database.sink("a")) + f"sink s | where v > 1 to {database.sink('b')} as other\n"  # fmt: skip
    run(place, text, checkpoint=place / "state")
    assert len(database.rows("select v from a")) == 3
    assert len(database.rows("select v from b")) == 2


# ---- refused, and by whom


def test_who_is_not_let_in_is_told_so_at_once(cluster, place):
    address = cluster.address.replace("flow@", "stranger@")
    with pytest.raises(SinkError, match='role "stranger" does not exist'):
        run(place, FLOW.format(f'postgres("{address}", table="imu")'))
    with pytest.raises(SinkError, match='database "nowhere" does not exist'):
        run(place, FLOW.format(f'postgres("{cluster.at(cluster.port)[:-8]}nowhere", table="imu")'))


def test_a_password_comes_by_reference_and_is_in_no_message(cluster, place, monkeypatch):
    cluster.do("drop role if exists keeper", "create role keeper login password 'open sesame/@'")
    hba = cluster.root / "data/pg_hba.conf"
    before = hba.read_text()
    try:
        hba.write_text("host all keeper 127.0.0.1/32 scram-sha-256\n" + before)
        cluster.rows("select pg_reload_conf()")
        cluster.do("grant all on schema public to keeper", "drop table if exists imu", "drop table if exists flowedge_places")  # fmt: skip
        address = cluster.address.replace("flow@", "keeper@")
        flow = FLOW.format(f'postgres("{address}", table="imu", password=secret("env:PG_WORD"))')
        monkeypatch.setenv("PG_WORD", "open sesame/@")
        assert run(place, flow).sinks["s"].peer.delivered == 3
        monkeypatch.setenv("PG_WORD", "close sesame")
        with pytest.raises(SinkError, match="password authentication failed") as told:
            run(place, flow)
        assert "sesame" not in str(told.value)
    finally:
        hba.write_text(before)
        cluster.rows("select pg_reload_conf()")


def test_a_password_in_the_address_is_refused(place):
    with pytest.raises(FlowEdgeError, match="FE704"):
        run(place, FLOW.format('postgres("postgresql://me:hunter2@db/x", table="imu")'))


def test_a_hypertable_needs_its_extension(cluster, place):
    if cluster.rows("select 1 from pg_available_extensions where name = 'timescaledb'"):
        pytest.skip("TimescaleDB is there")
    with pytest.raises(SinkError, match="has no TimescaleDB"):
        run(place, FLOW.format(f'postgres("{cluster.address}", table="hyper", hypertable=true)'))
    assert cluster.rows("select to_regclass('hyper')::text") == [(None,)]


def test_a_file_that_is_no_database_is_refused(place, tmp_path):
    (tmp_path / "notes.txt").write_text("not a database " * 1000)
    for name in ("sqlite", "duckdb"):
        with pytest.raises(SinkError, match=r"notes.txt.*not a (valid DuckDB )?database"):
            run(place, FLOW.format(f'{name}("{tmp_path}/notes.txt", table="imu")'))
