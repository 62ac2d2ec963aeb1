"""`check --budget`: what has a bound within it passes, what is above or has none does not."""

import pytest
from support.command import cli

from flowedge.graph.budget import Budget, parse_budget
from flowedge.runtime.plan import check_flow

SINK = ' to arrow("o.arrow")\n'


def told(tmp_path, text, budget):
    (tmp_path / "a.flow").write_text(text)
    found = check_flow(tmp_path / "a.flow", budget=parse_budget(budget))
    return [d.message for d in found if d.code == "FE511"]


def source(tmp_path, schema="time, k: key i32, v: f64", clauses=""):
    header = ",".join(c.split(":")[0].strip() for c in schema.split(","))
    (tmp_path / "in.csv").write_text(header + "\n")
    return f'source s ({schema}) from csv("{tmp_path}/in.csv") {clauses}\n'


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("64MB,20ms", Budget(64e6, 0.02)), ("2 s", Budget(None, 2.0)), ("1.5 GiB", Budget(1.5 * 2**30, None)),
        ("100ms , 3kb", Budget(3000.0, 0.1)),
    ],
)  # fmt: skip
def test_a_budget_is_a_size_a_duration_or_both(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "64", "MB", "64MB,", "1s,2s", "-3MB", "20 m/s", "nan s"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(ValueError, match="is no size or duration"):
        parse_budget(text)


def test_what_keeps_within_its_budget_passes(tmp_path):
    text = source(tmp_path, clauses="max keys 1000")
    text += "sink s | window 10 s | aggregate mean(v) as m" + SINK
    assert told(tmp_path, text, "1MB,10s") == []
    (state,) = told(tmp_path, text, "100kB")
    assert "the budget is 100 kB" in state
    (wait,) = told(tmp_path, text, "9.9s")
    assert wait == "rows to `s_arrow` may wait 10 s, the budget is 9.9 s"


def test_the_state_grows_with_the_keys(tmp_path):
    chain = "sink s | derive m = mean(v) over 100 samples" + SINK
    for keys in (10, 10_000):
        text = source(tmp_path, clauses=f"max keys {keys}") + chain
        least = keys * (100 * 8 + 100)
        assert told(tmp_path, text, f"{least}B")
        assert not told(tmp_path, text, f"{3 * least + 20_000}B")


UNBOUNDED = [
    ("time, k: key i32, v: f64", "", "| derive c = cumsum(v)", "the number of keys of `s`"),
    (
        "time, k: key string, v: f64",
        "max keys 5",
        "| derive c = cumsum(v)",
        "the length of the texts of `s`",
    ),
    ("time, v: f64", "late 2 s", "| where v > 1", "what `late` holds of `s`"),
    ("time, v: f64", "order time", "| where v > 1", "what `order time` sorts of `s`"),
    ("time, v: f64", "", "| window 1 s | aggregate median(v) as m", "keeps"),
    ("time, n: i32, v: f64", "", "| key n | derive c = cumsum(v)", "keeps"),
]


@pytest.mark.parametrize(("schema", "clauses", "chain", "what"), UNBOUNDED)
def test_what_has_no_bound_is_above_every_budget(tmp_path, schema, clauses, chain, what):
    text = source(tmp_path, schema, clauses) + f"sink s {chain}" + SINK
    found = told(tmp_path, text, "999GB")
    assert len(found) == 1
    assert what in found[0]
    assert "has no bound, the budget is 999 GB" in found[0]


def test_a_wait_without_a_bound_is_above_every_budget(tmp_path):
    text = source(tmp_path, "time, v: f64") + "sink s | derive n = lead(v, 1)" + SINK
    (found,) = told(tmp_path, text, "99h")
    assert "may wait without a bound" in found


def test_the_command_says_it_and_ends_with_1(tmp_path):
    (tmp_path / "in.csv").write_text("time,v\n")
    text = (
        'source s (time, v: f64) from csv("in.csv")\nsink s | window 10 s | aggregate mean(v) as m'
    )
    (tmp_path / "a.flow").write_text(text + SINK)
    code, out, _ = cli("check", "a.flow", "--budget", "1MB,2s", cwd=tmp_path)
    assert code == 1
    assert "error[FE511]: rows to `s_arrow` may wait 10 s, the budget is 2 s" in out
    assert cli("check", "a.flow", "--budget", "1MB,10s", cwd=tmp_path)[0] == 0
    code, _, err = cli("check", "a.flow", "--budget", "much", cwd=tmp_path)
    assert code == 2
    assert "is no size or duration" in err
