"""Passes keep the rows: what each does, when it must not, and that the graph stays whole."""

from dataclasses import replace

import pytest
from world import graph_of

from flowedge.graph import nodes as g
from flowedge.graph.expressions import Const
from flowedge.graph.passes import NAMES, PASSES, optimise
from flowedge.graph.passes.drop_dead import drop_dead
from flowedge.graph.passes.fold_constants import fold_constants
from flowedge.graph.passes.merge_stages import merge_stages
from flowedge.graph.passes.prune_columns import prune_columns
from flowedge.graph.passes.push_into_sources import push_into_sources
from flowedge.graph.passes.push_predicates import push_predicates
from flowedge.graph.passes.share_prefixes import share_prefixes
from flowedge.graph.verify import verify
from flowedge.lang.errors import InternalError

R = 'source r (time, k: key, v: f64, w: f64, x: f64) from arrow("r.arrow")\n'


def kinds(graph):
    """The kinds of the nodes, in order."""
    return [type(n).__name__ for n in graph.nodes]


def test_what_no_sink_needs_is_left_out():
    graph = graph_of(
        R
        + 'source q (time, v: f64) from arrow("q.arrow")\nstream a = q | where v > 3\nsink r to console'
    )
    assert kinds(drop_dead(graph)) == ["Source", "Sink"]


def test_constants_are_computed_now():
    graph = fold_constants(graph_of(R + "sink r | where true | derive a = sqrt(4) * v to console"))
    assert kinds(graph) == ["Source", "Derive", "Sink"] or kinds(graph) == [
        "Source",
        "Where",
        "Derive",
        "Sink",
    ]
    derive = next(n for n in graph.nodes if isinstance(n, g.Derive))
    assert derive.bindings[0][1].left == Const(2.0, derive.bindings[0][1].left.type)


def test_equal_beginnings_are_computed_once():
    text = (
        R
        + 'stream a = r | derive d = v * 2 | where d > 1\nstream b = r | derive d = v * 2 | where d > 2\nsink a to console\nsink b to arrow("b.arrow")'
    )
    assert kinds(share_prefixes(graph_of(text))).count("Derive") == 1


def test_a_filter_moves_before_what_it_does_not_read():
    assert kinds(
        push_predicates(graph_of(R + "sink r | derive d = v * 2 | where w > 1 to console"))
    )[1:3] == ["Where", "Derive"]


@pytest.mark.parametrize(
    "stages",
    [
        "derive d = v * 2 | where d > 1",
        "derive d = diff(v) | where w > 1",
        "derive d = v | where diff(w) > 1",
    ],
)
def test_a_filter_stays_behind_memory_and_what_it_reads(stages):
    assert kinds(push_predicates(graph_of(R + f"sink r | {stages} to console")))[1:3] == [
        "Derive",
        "Where",
    ]


def test_neighbours_become_one_stage():
    graph = merge_stages(
        graph_of(
            R
            + "sink r | where v > 1 | where w > 1 | derive a = v | derive b = a + diff(w) to console"
        )
    )
    assert kinds(graph) == ["Source", "Where", "Derive", "Sink"]


def test_a_condition_with_memory_sees_only_rows_that_reach_it():
    assert (
        kinds(
            merge_stages(graph_of(R + "sink r | where v > 1 | where changed(w) to console"))
        ).count("Where")
        == 2
    )


def test_a_derive_with_the_past_of_what_the_other_makes_stays():
    assert (
        kinds(
            merge_stages(graph_of(R + "sink r | derive a = prev(v, 0) | derive v = w to console"))
        ).count("Derive")
        == 2
    )


def test_columns_that_nobody_reads_are_not_read():
    graph = prune_columns(
        graph_of(
            R + "sink r | window 1 s | aggregate mean(v) as m, max(w) as n | select m to console"
        )
    )
    source = graph.nodes[0]
    assert [n for n, _ in source.raw] == ["k", "v", "time"] or sorted(n for n, _ in source.raw) == [
        "k",
        "time",
        "v",
    ]
    window = next(n for n in graph.nodes if isinstance(n, g.TimeWindow))
    assert [n for n, _ in window.results] == ["m"]
    assert len(window.folds) == 1


@pytest.mark.parametrize(
    ("after", "names"), [("select v", {"v"}), ('where branch == "q" | select v', {"branch", "v"})]
)
def test_a_union_says_which_stream_it_was_only_where_somebody_asks(after, names):
    text = R + f"stream q = r | where w > 0\nstream both = r, q\nsink both | {after} to console"
    union = next(n for n in prune_columns(graph_of(text)).nodes if isinstance(n, g.Union))
    assert {c.name for c in union.out.columns} == names


def test_what_a_needed_binding_reads_is_kept():
    graph = prune_columns(
        graph_of(R + "sink r | derive a = v * 2, b = a + 1, c = w | select b to console")
    )
    assert [n for n, _ in graph.nodes[1].bindings] == ["a", "b"]


def test_comparisons_reach_the_source_as_a_hint():
    source = push_into_sources(
        graph_of(R + "sink r | where v > 3 and 5 > w and diff(v) > 0 to console")
    ).nodes[0]
    assert source.predicate == (("v", ">", 3.0), ("w", "<", 5.0))


def test_a_signal_gets_no_hint():
    text = 'source r (time, v: f64) at 10 Hz from arrow("r.arrow")\nsink r | where v > 3 to console'
    assert push_into_sources(graph_of(text)).nodes[0].predicate == ()


def test_two_readers_share_only_what_both_ask():
    text = R + 'sink r | where v > 3 and w > 1 to console\nsink r | where v > 3 to arrow("b.arrow")'
    assert push_into_sources(graph_of(text)).nodes[0].predicate == (("v", ">", 3.0),)


@pytest.mark.parametrize("name", NAMES)
def test_every_pass_can_be_switched_off(name):
    text = (
        R
        + "sink r | derive d = v * 2 | where w > 1 | window 1 s | aggregate mean(d) as m to console"
    )
    sink = optimise(graph_of(text), off=[name]).nodes[-1]
    assert [c.name for c in sink.out.columns] == ["start", "m"]


def test_a_pass_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="no such pass"):
        optimise(graph_of(R + "sink r to console"), off=["warp"])


@pytest.mark.parametrize("run", PASSES, ids=lambda p: p.__name__)
def test_a_second_time_changes_nothing(run):
    text = (
        R
        + 'stream a = r | derive d = v * 2, e = diff(w) | where w > 1 | where x > 2\nsink a to console\nsink a | select d to arrow("d.arrow")'
    )
    once = run(graph_of(text))
    assert run(once) == once


def test_the_verifier_catches_a_broken_graph():
    graph = graph_of(R + "sink r | where v > 1 to console")
    broken = replace(
        graph,
        nodes=(
            replace(graph.nodes[0], out=replace(graph.nodes[0].out, columns=())),
            *graph.nodes[1:],
        ),
    )
    with pytest.raises(InternalError, match="after a test"):
        verify(broken, "a test")
    with pytest.raises(InternalError):
        verify(replace(graph, nodes=tuple(reversed(graph.nodes))), "a test")
