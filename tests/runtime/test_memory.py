"""``--max-memory``: a run that would hold more stops safely, says what holds it, and goes on with more."""

import json

import numpy as np
import pyarrow as pa
import pytest
from support.command import cli

from flowedge.types.sizes import parse_size

FLOW = """
source s (time, k: key i64, v: f64) from arrow("in.arrow"){clauses}
sink s | {stages} to {sink}
"""


def keys(path, count=400_000):
    """Every row has a key of its own."""
    time = pa.array(np.arange(count) * 10**7).cast(pa.timestamp("ns", "UTC"))
    table = pa.table({"time": time, "k": np.arange(count), "v": np.ones(count)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=20_000)


def flow(place, clauses="", stages="derive c = cumsum(v)", sink='parquet("out/a.parquet")'):
    keys(place / "in.arrow")
    text = FLOW.format(clauses=clauses, stages=stages, sink=sink)
    (place / "f.flow").write_text(text)


def test_a_run_over_the_bound_stops_and_goes_on_with_more(tmp_path):
    flow(tmp_path)
    assert cli("run", "-q", "f.flow", cwd=tmp_path)[0] == 0
    wanted = (tmp_path / "out" / "a.parquet").read_bytes()
    (tmp_path / "out" / "a.parquet").unlink()
    command = ("run", "-q", "f.flow", "--checkpoint", "state", "--max-memory")
    code, _, err = cli(*command, "12MB", cwd=tmp_path)
    assert code == 3
    assert "--max-memory allows 12 MB" in err
    assert "is in `s`: bound its keys with `max keys N` or `expire key after D`" in err
    assert "the state is in `state`" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "a.parquet").exists()
    code, _, err = cli(*command, "12MB", cwd=tmp_path)  # it does not come any further
    assert code == 3
    code, _, err = cli(*command, "1GB", cwd=tmp_path)
    assert code == 0, err
    assert (tmp_path / "out" / "a.parquet").read_bytes() == wanted


@pytest.mark.parametrize("threads", [1, 3])
def test_without_a_checkpoint_it_says_what_would_help(tmp_path, threads):
    flow(tmp_path)
    code, _, err = cli("run", "f.flow", "--max-memory", "12MB", "--threads", threads, cwd=tmp_path)
    assert code == 3
    assert "with --checkpoint" in err
    assert not (tmp_path / "out" / "a.parquet").exists()


@pytest.mark.parametrize(
    ("clauses", "stages", "told"),
    [
        (" late 1 h", "where v > 0", "in `s`: say a smaller `late`"),
        (" order time", "where v > 0", "in `s`: say `late D` for `order time`"),
        (" late 1 h max keys 5", "where v > 0", "in `s`: say a smaller `late`"),
        pytest.param(
            "",
            "select m = v | derive c = median(m) over 10 h",
            "bound what it keeps with `up to D`",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_node_that_holds_most_is_named_with_its_cure(tmp_path, clauses, stages, told):
    flow(tmp_path, clauses, stages)
    if not clauses:  # one key, a long past
        path = tmp_path / "f.flow"
        path.write_text(path.read_text().replace("k: key i64", "k: i64"))
    code, _, err = cli("run", "f.flow", "--max-memory", "6MB", cwd=tmp_path)
    assert code == 3, err
    assert told in err


def test_keys_that_expire_keep_a_run_within_its_bound(tmp_path):
    flow(tmp_path, " expire key after 1 min")
    code, out, err = cli(
        "run", "f.flow", "--max-memory", "60MB", "--report", "r.json", cwd=tmp_path
    )
    assert code == 0, err
    told = json.loads((tmp_path / "r.json").read_text())
    assert 0 < told["state_bytes"] <= 60e6
    assert set(told["state_bytes_by_node"]) >= {"s", "texts"}
    assert "state " in out


@pytest.mark.parametrize("size", ["512", "MB", "-1MB", "0MB", "1 parsec", ""])
def test_what_is_no_size_is_a_wrong_usage(tmp_path, size):
    flow(tmp_path)
    code, _, err = cli("run", "f.flow", "--max-memory", size, cwd=tmp_path)
    assert code == 2
    assert "is no size" in err
    with pytest.raises(ValueError, match="no size"):
        parse_size(size)
