"""What `deploy/` ships fits the runs that it is for: names of metrics and labels, files, users, and what a container starts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import Watched

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b(?:flowedge|process)_\w+")
GIVEN = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of buckets."""


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """Names of samples, and their labels, of a run with a peer, a state, and a bound."""
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "p.flow").write_text(
        'source s from host(every=20 ms) time time idle after 1 s\nsink s to sqlite("x.db", table="s")\n'
    )
    with Watched(folder, "p.flow", "--checkpoint", "state", "--max-memory", "2GB") as run:
        run.event("ready")
        text = run.get("/metrics")[1]
        run.stop()
    names, labels = (
        set(),
        {"stage", "model", "reason", "outcome", "note", "event"},
    )  # of what this run has none
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        ends = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}.get(
            kind, ("",)
        )
        names |= {name + end for end in ends}
    for found in re.findall(r"^flowedge_\w+\{(.*)\}", text, re.MULTILINE):
        labels |= set(re.findall(r'(\w+)="', found))
    return names, labels | GIVEN


def expressions():
    board = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for one in board["annotations"]["list"]:
        yield one["name"], one["expr"], one["titleFormat"]
    for one in board["templating"]["list"]:
        if one["type"] == "query":
            yield one["name"], one["query"]["query"], ""
    rules = (DEPLOY / "alerts.yml").read_text("utf-8")
    alerts = re.findall(
        r"- alert: (\w+)\n +expr: (.+)\n(?: +for: \w+\n)? +labels: .*\n +annotations: (.+)\n", rules
    )
    assert len(alerts) == rules.count("- alert:")
    yield from alerts


def test_every_name_and_label_is_one_that_a_run_exposes(exposed):
    names, labels = exposed
    count = 0
    for title, expr, text in expressions():
        asked = set(NAME.findall(expr))
        count += len(asked)
        assert asked <= names, (title, asked - names)
        used = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expr) + re.findall(
            r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text
        )
        for group in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", expr):
            used += group.split(", ")
        assert set(used) <= labels, (title, set(used) - labels)
        assert expr.count("(") == expr.count(")")
    assert count > 40


def test_what_a_run_counts_is_shown_or_watched(exposed):
    """A metric that nobody looks at is no use; those that are left out have a reason."""
    told = {name for _, expr, _ in expressions() for name in NAME.findall(expr)}
    spare = {
        "flowedge_run_start_time_seconds", "flowedge_run_status_age_seconds", "flowedge_source_watermark_seconds", "flowedge_sink_bytes_total",
        "flowedge_sink_latency_seconds_sum", "flowedge_sink_latency_seconds_count", "flowedge_sink_latency_quantile_seconds",
        "flowedge_peer_rows_delivered_total", "flowedge_node_rows_out_total", "flowedge_node_notes_total",
        "flowedge_model_breaker_openings_total", "flowedge_checkpoint_epoch",
    }  # fmt: skip
    assert {name for name in exposed[0] if name.startswith("flowedge_")} - told == spare


def test_the_panels_have_places_of_their_own():
    panels = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for p in panels:
        at = p["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, p["title"]
        taken |= cells


# ---- the container


def steps():
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text("utf-8"))
    return [
        line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")
    ]


def test_the_container_copies_what_is_there_and_is_not_root():
    found = steps()
    for word, rest in found:
        if word == "COPY" and "--from" not in rest:
            for name in [w for w in rest.split() if not w.startswith("--")][:-1]:
                assert (DEPLOY.parent / name).exists(), name
    assert [word for word, _ in found].count("FROM") == 2
    last = found[[k for k, (word, _) in enumerate(found) if word == "FROM"][-1] :]
    assert dict(last)["USER"] == "flowedge"
    assert not any(word == "RUN" for word, _ in last[[w for w, _ in last].index("USER") :])
    assert json.loads(dict(last)["HEALTHCHECK"].partition("CMD ")[2]) == ["healthy"]
    extras = re.search(r"EXTRAS=(\S+)", dict(found)["ARG"]) or re.search(r"(\S+)", "")
    known = (DEPLOY.parent / "pyproject.toml").read_text("utf-8")
    for extra in extras[1].split(","):
        assert f"\n{extra} = [" in known, extra


@pytest.fixture
def inside(tmp_path):
    """A PATH as in the container: `flowedge`, and a `python`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("flowedge", "-m flowedge "), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_what_the_container_starts_runs_is_healthy_and_hears_signals(tmp_path, inside):
    (tmp_path / "p.flow").write_text(
        'source s from host(every=20 ms) time time idle after 1 s\nsink s to csv("x.csv")\n'
    )
    env = {**inside, "FLOWEDGE_METRICS": "127.0.0.1:0"}
    run = subprocess.Popen(
        ["sh", DEPLOY / "entrypoint", "run", "p.flow", "--checkpoint", "state"], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        url = next(
            told["url"] for line in run.stderr if (told := json.loads(line))["event"] == "metrics"
        )
        next(line for line in run.stderr if json.loads(line)["event"] == "ready")
        asked = {**inside, "FLOWEDGE_METRICS": "0.0.0.0:" + url.rpartition(":")[2]}
        assert (
            subprocess.run(
                ["sh", DEPLOY / "healthy"], env=asked, timeout=60, check=False
            ).returncode
            == 0
        )
        run.terminate()
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (130, "")
        assert json.loads(err.splitlines()[-1])["event"] == "stop"
        gone = subprocess.run(
            ["sh", DEPLOY / "healthy"], env=asked, capture_output=True, timeout=60, check=False
        )
        assert gone.returncode == 1
    finally:
        run.kill()
        run.communicate()


def test_other_commands_are_those_of_flowedge(tmp_path, inside):
    found = subprocess.run(
        ["sh", DEPLOY / "entrypoint", "--version"],
        env=inside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("flowedge ")
