"""Events on standard error: names and fields that stay, a line each, and nothing else."""

import json
import re
import signal
from pathlib import Path

import pytest
from support.command import cli, recording
from support.runs import Watched, only
from support.services import mosquitto, until

from flowedge.runtime.clock import Clock
from flowedge.runtime.latency import Latencies
from flowedge.runtime.operate.changes import Changes
from flowedge.runtime.operate.events import EVENTS, LOGGER, say
from flowedge.runtime.operate.status import Checkpoints, SinkStatus, Status
from flowedge.runtime.report import PeerReport

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
FLOW = 'source s from arrow("in.arrow")\nsink s to arrow("out.arrow")\n'


@pytest.fixture
def place(tmp_path):
    recording(tmp_path / "in.arrow")
    (tmp_path / "p.flow").write_text(FLOW)
    return tmp_path


def lines(err):
    return [json.loads(line) for line in err.splitlines()]


def test_a_run_tells_its_life_in_lines_of_json_and_prints_nothing_else(place):
    code, out, err = cli(
        "run", "p.flow", "--log", "json", "--checkpoint", "state", "--quiet", cwd=place
    )
    assert (code, out) == (0, "")
    told = lines(err)
    assert [one["event"] for one in told] == ["start", "ready", "checkpoint", "stop"]
    for one in told:
        assert set(one) == {"time", "level", "event", "flow", "pid", *EVENTS[one["event"]].fields}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
        assert (one["flow"], one["level"]) == ("p.flow", "info")
    assert (told[-1]["rows_in"], told[-1]["rows_out"], told[-1]["why"]) == (5, 5, "")


def test_lines_of_text_say_the_same(place):
    code, out, err = cli("run", "p.flow", "--log", "text", cwd=place)
    assert code == 0
    assert "source s: 5 rows" in out  # the summary stays where it was
    start, ready, stop = err.splitlines()
    assert re.fullmatch(
        r'\S+Z info    start version=\S+ pipeline=[0-9a-f]{64} checkpoint=""', start
    )
    assert re.fullmatch(r"\S+Z info    ready after_s=\S+", ready)
    assert re.fullmatch(r'\S+Z info    stop rows_in=5 rows_out=5 wall_s=\S+ why=""', stop)


@pytest.mark.parametrize(
    ("level", "wanted"), [("debug", 3), ("info", 3), ("warning", 0), ("error", 0)]
)
def test_the_level_chooses(place, level, wanted):
    _, _, err = cli("run", "p.flow", "--log", "json", "--log-level", level, cwd=place)
    assert len(lines(err)) == wanted


WRONG = {
    "a mistake in the text": (FLOW.replace("s to", "t to"), 1, "FE2"),
    "no recording": (FLOW.replace("in.arrow", "none.arrow"), 1, "none.arrow"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_goes_wrong_is_one_line_and_its_exit_code(place, what):
    text, wanted, says = WRONG[what]
    (place / "p.flow").write_text(text)
    code, _, err = cli("run", "p.flow", "--log", "json", cwd=place)
    (told,) = lines(err)
    assert (code, told["event"], told["level"], told["exit_code"]) == (
        wanted,
        "failed",
        "error",
        wanted,
    )
    assert says in told["why"]


def test_a_run_that_is_asked_to_stop_says_so(place):
    (place / "p.flow").write_text(
        'source s from host(every=20 ms) time time idle after 1 s\nsink s to csv("o.csv")\n'
    )
    with Watched(place, "p.flow", port=False) as run:
        run.event("ready")
        code, _ = run.stop(signal.SIGINT)
        assert code == 130
        assert [one["event"] for one in run.events] == ["start", "ready", "stopping", "stop"]
        assert "the outputs are complete up to here" in run.events[-1]["why"]


@pytest.mark.parametrize(("given", "says"), [
    (("--log", "xml"), "`xml` is none; give `text` or `json`"), (("--log", "json", "--log-level", "loud"), "`loud` is none; give one of debug, info"),
])  # fmt: skip
def test_other_words_are_usage_errors(place, given, says):
    code, _, err = cli("run", "p.flow", *given, cwd=place)
    assert code == 2
    assert says in re.sub(r"\s*[│\n]+\s*", " ", err)


def test_a_broker_that_goes_and_comes_is_told_on_both_sides(tmp_path):
    with mosquitto(tmp_path, "listener PORT 127.0.0.1", "allow_anonymous true") as broker:
        (tmp_path / "p.flow").write_text(f"""
source m (v: f64) from mqtt("mqtt://127.0.0.1:{broker.port}/a") idle after 10 s
source h from host(every=50 ms) time time idle after 10 s
sink m to csv("m.csv")
sink h | select cpu_load to mqtt("mqtt://127.0.0.1:{broker.port}/b", qos=1) as b
""")
        with Watched(tmp_path, "p.flow", "--checkpoint", "state") as run:
            run.event("ready")
            until(lambda: run.json("/status")["sources"]["m"]["told"].get("connects"))
            until(lambda: run.json("/status")["sinks"]["b"]["peer"]["delivered"])
            broker.stop()
            lost, away = run.event("source_lost"), run.event("peer_away")
            assert (lost["source"], away["sink"]) == ("m", "b")
            assert lost["why"]
            assert away["why"]
            assert only(run.metrics()["flowedge_source_up"], source="m") == 0
            assert only(run.metrics()["flowedge_peer_up"], sink="b") == 0
            broker.start()
            assert run.event("source_back")["after_s"] > 0
            assert run.event("peer_back")["outages"] == 1
            run.stop()


# ---- what no short run shows


@pytest.fixture
def told(caplog):
    LOGGER.setLevel("DEBUG")
    yield lambda: [(r.getMessage(), r.fields) for r in caplog.records]
    LOGGER.setLevel("NOTSET")


class Hands(Clock):
    at = 10**12

    def ns(self):
        return self.at


def status(peer=None, models=None, shed=0, held=0):
    sinks = {"k": SinkStatus("mqtt", "", 0, 0, 0, 0, 0, Latencies(), peer)}
    nodes = {"n": {"shed": shed}}
    return Status(
        "x",
        sinks=sinks,
        nodes=nodes,
        models=models or {},
        state_bytes={"n": held},
        limit_bytes=1000,
    )


def model(*, is_open):
    return {"m: with": {"model": "m", "breaker": {"is_open": is_open}}}


def test_an_outage_between_two_looks_is_told_by_its_count(told):
    changes = Changes(Hands())
    changes.look(status(PeerReport("", outages=0)))
    changes.look(status(PeerReport("", outages=1, waiting=3)))
    changes.look(status(PeerReport("", outages=1)))
    assert [(event, f.get("outages")) for event, f in told()] == [
        ("peer_away", None),
        ("peer_back", 1),
    ]
    assert not changes.away


def test_breakers_shedding_and_memory_are_told_when_they_change(told):
    clock = Hands()
    changes = Changes(clock)
    for held, is_open, shed in (
        (0, False, 0),
        (950, True, 5),
        (850, True, 9),
        (950, True, 9),
        (700, False, 9),
        (901, False, 9),
    ):
        changes.look(status(models=model(is_open=is_open), shed=shed, held=held))
        clock.at += 10**9
    clock.at += 60 * 10**9
    changes.look(status(models=model(is_open=False), shed=20))
    assert [event for event, _ in told()] == [
        "breaker_open",
        "shedding",
        "memory",
        "breaker_closed",
        "memory",
        "shedding",
    ]
    assert [f["rows"] for event, f in told() if event == "shedding"] == [5, 15]


def test_checkpoints_that_are_asked_for_fast_are_told_together(told):
    clock = Hands()
    changes = Changes(clock)
    for epoch in range(1, 101):
        changes.saved(Checkpoints(epoch, 0.0, 0.001, epoch, 0))
        clock.at += 2 * 10**7
    assert [(f["epoch"], f["made"]) for _, f in told()] == [(1, 1), (51, 50)]


def test_an_event_has_its_fields():
    with pytest.raises(AssertionError, match="has the fields"):
        say("ready", soon=True)


def test_the_page_has_all_events_with_their_fields():
    shown = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    found = {
        name: (level, tuple(re.findall(r"`(\w+)`", fields)))
        for name, level, fields in shown
        if name in EVENTS
    }
    levels = {10: "debug", 20: "info", 30: "warning", 40: "error"}
    assert found == {name: (levels[kind.level], kind.fields) for name, kind in EVENTS.items()}
