"""A rejected row is called what its file calls it, however late it is turned away."""

import json

import pytest

from flowedge.runtime.places import Places
from flowedge.runtime.plan import compile_flow
from flowedge.runtime.run import Run

FLOW = """
source s (time: time, k: key string, v: f64) from csv("in*.csv") {more} max keys 1 on error quarantine "bad.jsonl"
sink s to jsonl("out.jsonl")
"""
TOO_MANY = "its key would be one more than `max keys 1`"


def rejected(tmp_path, monkeypatch, more, *files):
    """(file, row, reason) of each, from files of `second key value` rows."""
    monkeypatch.chdir(tmp_path)
    for number, rows in enumerate(files):
        lines = [f"2020-01-01T00:00:{second:02d}Z,{key},{v}\n" for second, key, v in rows]
        (tmp_path / f"in{number}.csv").write_text("time,k,v\n" + "".join(lines))
    Run(compile_flow(text=FLOW.replace("{more}", more), use_cache=False))()
    found = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    return sorted((row["file"], row["row"], row["reason"].split(",")[0]) for row in found)


@pytest.mark.parametrize("more", ["", "late 2 s", "late 1 min", "order time"])
def test_a_row_that_waited_has_the_number_and_the_file_where_it_stands(tmp_path, monkeypatch, more):
    first = [(0, "a", 1), (1, "a", "x"), (2, "b", 2), (3, "a", "y"), (4, "a", 1), (5, "b", 3)]
    second = [(6, "a", "z"), (7, "b", 4), (8, "a", 5)]
    assert rejected(tmp_path, monkeypatch, more, first, second) == [
        ("in0.csv", 2, "`v` is not a number"),
        ("in0.csv", 3, TOO_MANY),
        ("in0.csv", 4, "`v` is not a number"),
        ("in0.csv", 6, TOO_MANY),
        ("in1.csv", 1, "`v` is not a number"),
        ("in1.csv", 2, TOO_MANY),
    ]


def test_places_forget_what_no_row_that_waits_needs():
    places = Places()
    places.leave_out([2, 5])  # the session gets rows 1, 3, 4, 6, 7
    places.begin(1, 5)
    places.leave_out([1])
    every = [(0, 1), (0, 3), (0, 4), (0, 6), (0, 7), (1, 2), (1, 3)]
    for before in range(7):
        places.forget(before)
        places = Places.restore(places.state())
        assert [places.of(n) for n in range(before, 7)] == every[before:]
    assert places.is_plain
