"""Bad values in files, from the file to the report and the quarantine file."""

import json

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


@pytest.mark.parametrize("kind", ["csv"])
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
