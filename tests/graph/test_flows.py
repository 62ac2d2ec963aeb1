"""Real pipelines of the specification: each gives a graph, or only names what is still to come.

The exceptions are mistakes that the specification's own rules forbid, and corners of the grammar
that speak of things which are not there.
"""

import os
from pathlib import Path

import pytest
from world import graph_of, problems

HERE = Path(__file__).parents[2].parent / "shared" / "flows"
LATER = {"FE290", "FE291"}
ALSO = {
    "03-fleet": {"FE413", "FE410", "FE216"}, "08-keywords-as-columns": {"FE201"}, "09-ref-to-branch": {"FE414"}, "12-mqtt-captures": {"FE416"},
    "16-scientific-ranges": {"FE304"}, "20-split-forms": {"FE202"}, "22-union-import": {"FE215"}, "33-word-boundaries": {"FE207", "FE214"},
    "45-check-windows": {"FE707"}, "47-check-resample-join": {"FE707"}, "08-bearing": {"FE504"}, "10-home": {"FE504"}, "11-energy": {"FE413"},
    "12-fleet": {"FE413"}, "13-fall": {"FE215"}, "16-edgex": {"FE413"},
}  # fmt: skip
"""A live join without `idle after`, keys mixed behind `late per key`, files that are not here."""
FLOWS = sorted(HERE.glob("*/*.flow"))


@pytest.mark.skipif(
    not FLOWS and not os.environ.get("FLOWEDGE_REQUIRE_ALL"),
    reason="the pipelines of the specification are not here",
)
def test_the_pipelines_are_there():
    assert FLOWS


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_a_pipeline_of_the_specification_checks(path):
    found = {d.code for d in problems(path.read_text(encoding="utf-8")) if d.severity == "error"}
    assert found - LATER == ALSO.get(path.stem, set())


@pytest.mark.parametrize(
    ("clause", "code", "told"),
    [
        ('to arrow("o.arrow") buffer 1 [GB] on disk', "FE705", "has no peer that may be away"),
        ('to table("db") signed by "k"', "FE705", "leaves no files that could be signed"),
        ('to table("db") buffer 3 s on disk', "FE302", "a buffer has a size"),
        ('to table("db") buffer 3 on disk', "FE302", "a buffer has a size"),
        ('to table("db://me:word@host/x")', "FE704", "a password in the address"),
    ],
)
def test_what_a_sink_with_a_peer_refuses(clause, code, told):
    (found,) = problems(f'source a (time, v: f64) from arrow("in.arrow")\nsink a {clause}\n')
    assert (found.code, told in found.message) == (code, True), found


@pytest.mark.parametrize(
    ("call", "codes"),
    [
        ('"nats://far/a", token="x"', {"FE704", "FE710"}), ('"nats://far/a", credentials="x"', {"FE704"}), ('"nats://far/a", token=secret("env:A")', {"FE710"}),
        ('"nats://far/a", token=secret("env:A"), tls=true', set()), ('"nats://far/a", token=secret("env:A"), tls=false', {"FE710"}),
        ('"tls://far/a", token=secret("env:A")', set()), ('"nats://localhost/a", token=secret("env:A")', set()), ('"nats://me:word@far/a"', {"FE704"}),
        ('"nats://far/a", credentials=secret("file:a.creds")', set()), ('"nats+tls://far/a", token=secret("env:A")', set()),
    ],
)  # fmt: skip
def test_secrets_are_not_in_the_text_and_not_in_the_open(call, codes):
    found = problems(f'source a (time, v: f64) from arrow("in.arrow")\nsink a to safe({call})\n')
    assert {one.code for one in found} == codes


def test_a_buffer_is_bytes():
    graph = graph_of('source a (time, v: f64) from arrow("in.arrow")\nsink a to table("db://me@host") buffer 2 [MB] on disk\n')  # fmt: skip
    assert graph.nodes[-1].buffer_bytes == 2_000_000
    assert graph.nodes[-1].guarantee == "exactly once"
