"""Bad values in files, from the file to the report and the quarantine file."""

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import cli

ROWS = [(1, 1), (300, 7), ("zz", 3), (4, 999), (5, 2)]
SECONDS = [f"2024-01-01T00:00:0{k}Z" for k in range(5)]


def write(path, kind):
    if kind == "csv":
        lines = ["time,n,v", *(f"{t},{n},{v}" for t, (n, v) in zip(SECONDS, ROWS, strict=True))]
    else:
        rows = ({"time": t, "n": n, "v": v} for t, (n, v) in zip(SECONDS, ROWS, strict=True))
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def run_over(tmp_path, kind, valid, more=""):
    write(tmp_path / f"a.{kind}", kind)
    flow = tmp_path / "a.flow"
    flow.write_text(
        f'source s (time, n: u8, v: f64) from {kind}("a.{kind}") valid {valid} {more}\nsink s to csv("out.csv")\n'
    )
    code, _, said = cli("run", "a.flow", "--report", "r.json", cwd=tmp_path)
    assert code == 0, said
    report = json.loads((tmp_path / "r.json").read_text())
    return (tmp_path / "out.csv").read_text().splitlines()[1:], report["sources"]["s"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("policy", "kept"), [("null", ["1", "", "", "4", "5"]), ("clamp", ["1", "255", "", "4", "5"]), ("reject", ["1", "4", "5"])]
)  # fmt: skip
def test_a_cell_that_is_no_such_number_does_what_the_policy_says(tmp_path, kind, policy, kept):
    rows, source = run_over(tmp_path, kind, f"n else {policy}")
    assert [row.split(",")[1] for row in rows] == kept
    assert source["rows_in"] == 5
    assert source["rows_bad"] == 5 - len(kept)
    if policy != "reject":
        clamped = int(policy == "clamp")
        assert source["values"]["n"] == {"rejected": 0, "nulled": 2 - clamped, "clamped": clamped}


def test_rejected_rows_are_in_the_quarantine_file_with_reason_and_row(tmp_path):
    valid = "n else reject, v in 0 .. 10 else reject"
    rows, source = run_over(tmp_path, "csv", valid, 'on error quarantine "bad.jsonl"')
    assert len(rows) == 2
    assert source["rows_bad"] == 3
    told = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert sorted((r["row"], r["reason"]) for r in told) == [
        (2, "`n` is not a whole number that fits into uint8"),
        (3, "`n` is not a whole number that fits into uint8"),
        (4, "`v` is 999, outside 0 … 10"),
    ]
    shown = cli("inspect", "bad.jsonl", cwd=tmp_path)[1]
    assert "3 rejected rows" in shown
    assert "1  `v` outside 0 … 10" in shown


@pytest.mark.parametrize("on_error", ["", "on error skip"])
def test_a_field_of_json_that_changes_its_type_is_for_the_run_to_judge(tmp_path, on_error):
    lines = ['{"time": "2024-01-01T00:00:00Z", "n": 1}', '{"time": "2024-01-01T00:00:01Z", "n": "b"}', '{"late": 2.5}']  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    flow = f'source s from jsonl("a.jsonl") time time {on_error}\nsink s to csv("out.csv")\n'
    (tmp_path / "a.flow").write_text(flow)
    assert cli("check", "a.flow", cwd=tmp_path)[0] == 0
    code, _, said = cli("run", "a.flow", cwd=tmp_path)
    if not on_error:
        assert (code, said.count("\n")) == (3, 1)
        assert "line 2: `n` is not a whole number that fits into int64" in said
    else:
        assert code == 0
        rows = (tmp_path / "out.csv").read_text().splitlines()
        assert rows == ["time,n,late", '"2024-01-01T00:00:00.000000000Z",1,']


def test_row_groups_that_statistics_would_skip_still_reject_their_rows(tmp_path):
    n = 4000
    v, w = np.arange(n, dtype=float), np.where(np.arange(n) % 10 == 0, 999.0, 1.0)
    time = pa.array(np.arange(n) * 10**9).cast(pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"time": time, "v": v, "w": w}), tmp_path / "a.parquet", row_group_size=500)  # fmt: skip
    told = {}
    for where in ("v >= 3500", "v >= 0"):
        (tmp_path / "a.flow").write_text(
            'source s (time, v: f64, w: f64) from parquet("a.parquet") valid w in 0 .. 10 else reject\n'
            f'    on error quarantine "bad.jsonl"\nsink s | where {where} | select v to csv("out.csv")\n'
        )
        code, _, said = cli("run", "a.flow", "--report", "r.json", cwd=tmp_path)
        assert code == 0, said
        report = json.loads((tmp_path / "r.json").read_text())["sources"]["s"]
        kept = len((tmp_path / "out.csv").read_text().splitlines()) - 1
        assert kept == (450 if where == "v >= 3500" else 3600)
        told[where] = (report["rows_in"], report["rows_bad"], (tmp_path / "bad.jsonl").read_bytes())
        assert told[where][:2] == (4000, 400)
    assert told["v >= 3500"] == told["v >= 0"]


# ---- limits


def npz_bomb(path):
    np.savez_compressed(path, time=np.zeros(9_000_000, "M8[ns]"), v=np.zeros(9_000_000))


def parquet_bomb(path):
    table = pa.table(
        {"time": pa.array([0], pa.timestamp("ns")), "v": [0.0], "text": ["x" * 100_000_000]}
    )
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def arrow_bomb(path, opener=pa.ipc.new_file):
    zeros = np.zeros(20_000_000)
    table = pa.table({"time": zeros.astype("M8[ns]"), "v": zeros})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with opener(path, table.schema, options=options) as writer:
        writer.write_table(table)


def many_columns(path):
    table = pa.table({f"c{k}": [1] for k in range(17_000)})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def long_row(path):
    path.write_text(
        "time,v\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z," + "1" * 3_000_000 + "\n"
    )


def long_line(path):
    line = '{"time": "2024-01-01T00:00:00Z", "v": 1}\n'
    path.write_text(line * 50_000 + '{"v": "' + "1" * (17 << 20) + '"}\n')


@pytest.mark.parametrize(
    ("connector", "write", "said_in", "at_check"),
    [
        ("npz", npz_bomb, "1,000 to 1 is the limit", False),
        ("parquet", parquet_bomb, "1,000 to 1 is the limit", False),
        ("arrow", arrow_bomb, "1,000 to 1 is the limit", True),
        ("arrow", partial(arrow_bomb, opener=pa.ipc.new_stream), "1,000 to 1 is the limit", True),
        ("arrow", many_columns, "17,000 columns", True),
        ("csv", long_row, "in row 2,", False),
        ("jsonl", long_line, "in line 50001,", False),
    ],
    ids=["npz", "parquet", "arrow file", "arrow stream", "columns", "csv", "jsonl"],
)
def test_a_limit_ends_in_one_sentence_and_its_own_exit_code(tmp_path, connector, write, said_in, at_check):  # fmt: skip
    path = tmp_path / f"a.{connector}"
    write(path)
    (tmp_path / "a.flow").write_text(
        f'source s (time, v: f64) from {connector}("{path.name}") time time\nsink s to csv("out.csv")\n'
    )
    code, out, said = cli("run", "a.flow", cwd=tmp_path)
    assert said_in in said + out
    assert "say `trusted=true`" in said + out
    assert code == (1 if at_check else 3)
    assert (said + out).count("error") - (said + out).count("1 error") == 1
    assert not (tmp_path / "out.csv").exists()
