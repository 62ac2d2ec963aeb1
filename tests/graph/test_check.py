"""What the checker makes of a pipeline: nodes, types, units, and several mistakes at once."""

import pytest
from world import codes, graph_of, problems

from flowedge.graph import nodes as g
from flowedge.graph.calls.known import PLANNED, PLANNED_FILTERS, functions
from flowedge.graph.expressions import (
    Apply,
    Arithmetic,
    Compare,
    Const,
    Previous,
    Read,
    Rolling,
    walk,
)
from flowedge.graph.sinks import Sinks
from flowedge.lang.diagnostics import FlowError
from flowedge.lang.errors import InternalError

S = 'source s (time, v: f64 [mV], n: i64, t: f64 [degC], name: string, ok: bool) at 100 Hz from arrow("in.arrow")\n'
R = 'source r (time, k: key, v: f64, w: f64 [m/s]) from arrow("r.arrow") late 2 s\n'


def only(graph, kind):
    """The one node of a kind."""
    (found,) = [n for n in graph.nodes if isinstance(n, kind)]
    return found


def derived(expr, source=S):
    """The typed expression of a derive on `s`."""
    return only(graph_of(f"{source}sink s | derive q = {expr} to console"), g.Derive).bindings[0][1]


def refused(expr, source=S):
    """The codes of a derive on `s`."""
    return codes(f"{source}sink s | derive q = {expr} to console")


def compared(expr, source=S):
    """The condition of a where on `s`."""
    return only(graph_of(f"{source}sink s | where {expr} to console"), g.Where).condition


# ---- units


def test_a_constant_is_told_in_the_unit_of_the_column():
    assert compared("v > 0.005 V") == Compare(
        ">",
        Read("v", compared("v > 0 mV").left.type),
        Const(5.0, derived("v").type),
        compared("ok").type,
    )


def test_kelvin_and_degrees_are_compared_as_points():
    assert compared("t > 300 K").right.value == pytest.approx(26.85)


def test_half_a_kelvin_taken_from_degrees_is_an_amount():
    assert derived("t - 0.5 K").right.value == 0.5
    assert str(derived("t - 0.5 K").type.unit) == "degC"


def test_point_minus_point_is_a_difference_in_kelvin():
    assert str(derived("t - 20 degC").type.unit) == "K"
    assert not derived("t - 20 degC").type.unit.is_point


def test_a_unit_is_put_on_a_bare_number():
    assert str(derived("n * 1 degC").type.unit) == "degC"


def test_durations_are_the_nearest_float():
    node = only(
        graph_of(
            S
            + "sink s | derive q = mean(v) over 3 * 50 ms to console".replace(
                "3 * 50 ms", "(3 * 50 ms)"
            )
        ),
        g.Derive,
    )
    assert node.bindings[0][1].extent.seconds == 0.15


def test_a_percent_is_a_number():
    assert derived("n + 100 percent").right.value == 1.0


def test_zero_needs_no_unit_where_zero_is_zero():
    assert refused("if(v > 0, v, 0)") == []
    assert refused("if(t > 0, 1, 0)") == ["FE304"]


def test_equal_units_cancel():
    assert derived("v / lag(v) - 1").type.unit is None


def test_angles_and_frequencies_do_not_mix():
    source = 'source s (time, w: f64 [rad/s]) from arrow("in.arrow")\n'
    assert refused("w + 5 Hz", source) == ["FE301"]


@pytest.mark.parametrize(
    ("expr", "code"),
    [
        ("v + n", "FE304"), ("v + t", "FE301"), ("t + t", "FE307"), ("t * 2", "FE307"), ("v ^ n", "FE303"), ("exp(v)", "FE303"), ("name + 1", "FE302"),
        ("-name", "FE302"), ("if(n, 1, 2)", "FE302"), ("if(ok, 1, name)", "FE302"), ("v > name", "FE302"), ("name < \"a\"", "FE302"), ("nope", "FE201"),
        ("sum(v)", "FE208"), ("lag(v, n)", "FE310"), ("lag(v, 1.5)", "FE418"), ("v[0]", "FE302"), ("ema(v)", "FE212"), ("mean(v) over 1", "FE304"),
        ("mean(v) over 1 mV", "FE303"), ("ema(v, 1 s) over 5 s", "FE207"), ("v == missing", "FE302"), ("mean(v) over 1 ms", "FE417"),
        ("lowpass(v, 60 Hz)", "FE403"), ("bandpass(v, 9 Hz .. 5 Hz)", "FE407"), ("time + time", "FE302"), ("time - 5", "FE304"),
    ],
)  # fmt: skip
def test_mistakes_in_expressions(expr, code):
    assert code in refused(expr)


# ---- expressions


def test_time_minus_time_is_in_seconds():
    assert str(derived("time - lag(time)").type) == "f64 [s]"


def test_a_function_of_the_user_is_expanded_in_place():
    text = "fn twice(x) = 2 * x\n" + S + "sink s | derive q = twice(v) to console"
    found = only(graph_of(text), g.Derive).bindings[0][1]
    assert isinstance(found, Arithmetic)
    assert found.right.name == "v"


def test_prev_reads_what_is_being_defined():
    found = derived("prev(q, 0 mV) + v")
    assert any(isinstance(e, Previous) and e.name == "q" for e in walk(found))


def test_prev_of_a_list_begins_with_a_list():
    lists = 'source s (time, v: f64<3> [mV]) at 100 Hz from arrow("in.arrow")\n'
    assert refused("prev(q, 0 mV) + v", lists) == ["FE301"]
    assert derived("prev(q, 0 * v) + v", lists).type.shape == (3,)


def test_conditions_are_averaged_as_shares():
    assert derived("mean(ok) over 1 s").type.store == "f64"


def test_max_of_two_is_a_function_and_of_one_an_aggregate():
    assert isinstance(derived("max(v, 3 mV)"), Apply)
    assert isinstance(derived("max(v) over 1 s"), Rolling)


def test_missing_takes_the_type_of_the_other_side():
    assert derived("if(ok, v, missing)").otherwise.type.unit == derived("v").type.unit


def test_a_rolling_mean_points_back_by_half_its_length():
    assert derived("mean(v) over 150 ms").type.delay_s == pytest.approx(0.075)


# ---- statements


def test_statements_stand_in_any_order():
    assert codes("sink b to console\nstream b = s | where v > w\nparam w = 3 mV\n" + S) == []


def test_independent_mistakes_are_reported_together_in_order():
    text = S + "sink s | derive a = nope, b = v + t | where name > 3 | select zap to cosole"
    assert codes(text) == ["FE201", "FE301", "FE302", "FE201", "FE214"]


def test_what_follows_from_a_mistake_is_silent():
    assert codes(S + "sink s | derive a = nope | derive b = a + 1 | where b > 3 to console") == [
        "FE201"
    ]


def test_a_definition_takes_columns_quantities_and_streams():
    text = (
        'def near(other, col, most = 3 mV) = join other within 1 s | where col < most\nsource o (time, x: f64) from arrow("o.arrow")\n'
        + S
    )
    graph = graph_of(text + "sink s | near(o, v, most=5 mV) to console")
    assert only(graph, g.Where).condition.right.value == 5.0
    assert only(graph, g.Join).names == (("time", "o_time"), ("x", "x"))


def test_a_parameter_is_read_in_the_unit_of_its_default():
    text = "param cut = 5 Hz\n" + S + "sink s | filter lowpass(cut) on v to console"
    assert only(graph_of(text, cut="0.02 kHz"), g.Derive).bindings[0][1].function.cut == 20.0
    assert only(graph_of(text, cut="7"), g.Derive).bindings[0][1].function.cut == 7.0


@pytest.mark.parametrize("given", [{"cut": "oops oops"}, {"cutt": "5 Hz"}, {"cut": '"a"'}])
def test_a_parameter_from_outside_fits(given):
    text = "param cut = 5 Hz\n" + S + "sink s | filter lowpass(cut) on v to console"
    assert codes(text, **given) == ["FE206"]


def test_imports_bring_names_with_and_without_a_prefix():
    files = {
        "lib.flow": "param low = 2 mV\nfn twice(x) = 2 * x\ndef high(most = low) = where v > most"
    }
    assert (
        codes(
            'import "lib.flow"\n' + S + "sink s | high | derive q = twice(v) to console",
            imports=files.__getitem__,
        )
        == []
    )
    assert (
        codes(
            'import "lib.flow" as lib\n' + S + "sink s | lib_high to console",
            imports=files.__getitem__,
        )
        == []
    )


def test_a_source_counts_time_from_its_rate():
    node = only(
        graph_of(
            'source s (v: f64) at 50 Hz from arrow("in.arrow") time "2024-01-01T00:00:00Z"\nsink s to console'
        ),
        g.Source,
    )
    assert node.time is None
    assert node.start_ns == 1704067200 * 10**9


def test_a_number_with_a_unit_of_time_becomes_ns():
    node = only(
        graph_of('source s (t: i64 [ms], v: f64) from arrow("in.arrow") time t\nsink s to console'),
        g.Source,
    )
    assert node.time.value.right.value == 10**6


def test_the_number_of_the_row_counts_exactly():
    node = only(
        graph_of('source s (v: f64) from arrow("in.arrow") time row / 50 Hz\nsink s to console'),
        g.Source,
    )
    assert node.time.value == Arithmetic(
        "*",
        Read("row", node.time.value.left.type),
        Const(20_000_000, node.time.value.right.type),
        node.time.value.type,
    )


def test_a_key_is_captured_from_the_path():
    node = only(
        graph_of(
            'source s (time, who: key, v: f64) from arrow("data/{who}.arrow")\nsink s to console'
        ),
        g.Source,
    )
    assert node.captures == ("who",)
    assert node.address == "data/{who}.arrow"


def test_a_key_from_the_path_that_is_a_number_is_read_as_one():
    node = only(
        graph_of(
            'source s (time, n: key i32, v: f64) from arrow("data/{n}.arrow")\nsink s to console'
        ),
        g.Source,
    )
    assert dict(node.raw)["n"].store == "i32"
    assert [(x.raw, x.expr) for x in node.keys] == [("n", None)]


# ---- stages


def test_a_window_and_its_aggregates_are_one_node():
    node = only(
        graph_of(
            R
            + "sink r | window 10 s every 5 s | aggregate mean(v) as m, max(v) - min(v) as spread, count() to console"
        ),
        g.TimeWindow,
    )
    assert (node.size_ns, node.hop_ns) == (10**10, 5 * 10**9)
    assert [n for n, _ in node.results] == ["m", "spread", "count"]
    assert [c.name for c in node.out.columns] == ["start", "m", "spread", "count"]
    assert node.out.spans


def test_an_argument_with_memory_is_computed_before_the_window():
    graph = graph_of(R + "sink r | window 1 s | aggregate mean(diff(v)) as d to console")
    assert only(graph, g.Derive).bindings[0][0].startswith("_arg")


def test_a_count_window_keeps_frames_for_derive_and_model():
    text = S + 'model m = torch("two.pt2") input (z) output softmax ["a", "b"]\n'
    graph = graph_of(
        text
        + "sink s | select v | window 64 samples | derive z = (v - mean(v)) / std(v) | classify with m to console"
    )
    assert only(graph, g.CountFrames).out.frame.length == 64
    assert isinstance(only(graph, g.FrameDerive), g.FrameDerive)
    node = only(graph, g.Classify)
    assert node.out.frame.whole == ("start", "label", "score")
    assert node.out.stored()[1].type.shape == (64,)


def test_frames_around_events_have_one_length_on_a_signal():
    text = (
        S
        + "stream e = s | detect edges(v > 3 mV)\nsink s | split at e from -250 ms to 400 ms | aggregate min(v) as low to console"
    )
    node = only(graph_of(text), g.SplitAt)
    assert (node.before, node.after) == (-25, 40)


def test_branches_are_routes_behind_one_node():
    graph = graph_of(
        R
        + 'stream p = r | split into a when v > 3, b otherwise\nsink p.a to console\nsink p.b to arrow("b.arrow")'
    )
    assert len([n for n in graph.nodes if isinstance(n, g.Branch)]) == 1
    assert [n.branch for n in graph.nodes if isinstance(n, g.Route)] == [0, 1]


def test_a_join_names_what_clashes_after_the_stream():
    text = (
        R
        + 'source q (time, k: key, v: f64, x: i32) from arrow("q.arrow")\nsink r | join q within 1 s to console'
    )
    assert [c.name for c in only(graph_of(text), g.Join).out.columns] == [
        "v",
        "w",
        "q_time",
        "q_v",
        "x",
    ]


def test_a_union_converts_units_and_says_which():
    text = (
        R
        + 'source q (time, k: key, w: f64 [km/h]) from arrow("q.arrow")\nstream u = r, q\nsink u to console'
    )
    node = only(graph_of(text), g.Union)
    assert node.scales[1][0][1] == pytest.approx(1 / 3.6)
    assert node.out.column("branch").type.labels == ("r", "q")


def test_a_rule_that_must_hold_becomes_held():
    node = only(
        graph_of(
            R + 'sink r | classify rules { "up" when v > 3 for 5 s otherwise "ok" } to console'
        ),
        g.Rules,
    )
    assert node.rules[0][1].function.name == "held"


def test_lead_becomes_a_stage_of_its_own():
    graph = graph_of(S + "sink s | derive d = lead(v, 2) - v to console")
    assert only(graph, g.Ahead).values[0][2] == 2
    assert "_lead1" not in [c.name for c in only(graph, g.Derive).out.columns]


def test_rows_out_of_order_over_keys_are_put_in_order_before_a_window():
    text = 'source s (time, k: key, v: f64) at 100 Hz from arrow("in.arrow")\n'
    graph = graph_of(
        text
        + "sink s | detect peaks(v, threshold=1) | window 1 s | aggregate count() as n to console"
    )
    assert only(graph, g.InOrder).out.in_order


def test_side_streams_of_a_source():
    graph = graph_of(
        R.replace("late 2 s", "late 2 s on silence 5 s")
        + 'sink r.late to console\nsink r.silent to arrow("x.arrow")'
    )
    assert [n.part for n in graph.nodes if isinstance(n, g.SourcePart)] == ["late", "silent"]


def test_resample_and_expand_give_back_a_signal():
    graph = graph_of(R + "sink r | resample 15 min linear to console")
    assert only(graph, g.Resample).rate == (1, 900)
    graph = graph_of(S + "sink s | compress swing(0.3 mV) on v | expand to console")
    assert only(graph, g.Expand).out.shape == "signal"


def test_whether_a_model_is_exact_is_true_or_false():
    text = 'model m = torch("two.pt2", exact="no") input (v) output softmax ["a", "b"]\n'
    found = problems(S + text + "sink s | window 64 samples | classify with m to console")
    assert "`true` or `false` is wanted" in [p.message for p in found]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('sha256="abcd"', ["`torch` lacks the path of the model"]),
        ("", ["`torch` lacks the path of the model"]),
        ('"two.pt2", path="two.pt2"', ["`path` is given twice"]),
        ('"two.pt2", "abcd", "ef"', ["`two.pt2` needs no class"]),
        ('"two.pt2", digest="abcd"', ["`torch` has no option `digest`"]),
        ('"two.pt2", exact=false, exact=true', ["`exact` is given twice"]),
        ('"two.pt", exact=false', ["`two.pt` is run by Torch as a whole"]),
    ],
)
def test_a_model_takes_a_path_and_a_digest_once_each(arguments, says):
    text = f'model m = torch({arguments}) input (v) output softmax ["a", "b"]\n'
    found = problems(S + text + "sink s | window 64 samples | classify with m to console")
    assert [p.message for p in found if p.code == "FE212"] == says


def test_what_keeps_less_than_one_row_of_one_is_refused():
    for count in (0, -2):
        (found,) = problems(S + f"sink s | compress decimate({count}) on v to console")
        assert (found.code, found.message) == ("FE418", f"one row kept of {count}")


def test_a_sink_that_falls_away_without_a_mistake_is_our_fault(monkeypatch):
    monkeypatch.setattr(Sinks, "add", lambda *_: None)
    with pytest.raises(InternalError, match=r"sinks cannot all be built \(expected 1 sinks, saw 0"):
        graph_of(S + "sink s to console")


def test_a_unit_that_resembles_none_is_answered_with_examples():
    (found,) = problems(S.replace("[mV]", "[zzqx]") + "sink s to console")
    assert found.message == "unknown unit `zzqx`"
    assert found.fix == "take a known one, for example `mV`, `m/s^2` or `degC`"


def test_what_is_planned_is_refused_by_name_and_is_not_there_yet():
    assert not PLANNED.keys() & functions().keys()
    for name in PLANNED:
        assert codes(S + f"sink s | derive y = {name}(v) to console") == ["FE290"]
    for name in PLANNED_FILTERS:
        assert codes(S + f"sink s | filter {name}(v) to console") == ["FE290"]


def test_the_filter_of_a_part_not_yet_there_does_not_hide_other_mistakes():
    assert codes(
        S + "sink s | filter detrend on v | resample 50 Hz sinc | where nope > 3 to console"
    ) == ["FE290", "FE290", "FE201"]


@pytest.mark.parametrize(
    ("stages", "code"),
    [
        ("window 0 samples | aggregate count()", "FE418"), ("window 5 s every 3 samples | aggregate count()", "FE418"), ("window 1 s in \"Mars\" | aggregate count()", "FE418"),
        ("split at nope from 0 s to 1 s | aggregate count()", "FE202"), ("split while n > 3", "FE502"), ("split on ok | aggregate mean(v) as v, count() as v", "FE203"),
        ("key name, name", "FE203"), ("key v", "FE506"), ("select v, v", "FE203"), ("derive time = 3", "FE222"), ("unnest v", "FE302"), ("compress swin(3)", "FE207"),
        ("compress swing(3 mV, 4) on v", "FE212"), ("detect peeks(v)", "FE207"), ("detect peaks(v)", "FE212"), ("detect edges(v)", "FE302"), ("hot", "FE207"),
        ("resample 5 mV linear", "FE303"), ("classify with m", "FE201"), ("classify rules { \"a\" when v }", "FE302"), ("filter lowpas(5 Hz)", "FE207"),
        ("join nope latest", "FE202"), ("window 10 samples | detect edges(ok)", "FE302"),
    ],
)  # fmt: skip
def test_mistakes_in_stages(stages, code):
    assert code in codes(S + f"sink s | {stages} to console")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('source s (time, v: f64, v: f64) from arrow("a")\nsink s to console', "FE203"), ('source s (time, v: f65) from arrow("a")\nsink s to console', "FE314"),
        ('source s (time, v: f64 [mVV]) from arrow("a")\nsink s to console', "FE305"), ('source s (time, v: f64) from arrow("a") late 2\nsink s to console', "FE304"),
        ('source s (time, v: f64) from arrow("a", colums=["v"])\nsink s to console', "FE705"), ('source s (time, v: f64) from arrow\nsink s to console', "FE705"),
        ('source s (t: f64, v: f64) from arrow("a") time t\nsink s to console', "FE304"), ('source s (time, k: key f64) from arrow("a")\nsink s to console', "FE506"),
        ('source s (time, v: f64) from arrow("{nope}")\nsink s to console', "FE205"), ('source s (time, v: f64) from console\nsink s to console', "FE214"),
        ('def f(a, a) = where a\nsource s (time, v: f64) from arrow("a")\nsink s | f(v) to console', "FE203"),
        ('source s (time, v: f64) from arrow("a") jitter 80 percent\nsink s to console', "FE416"),
    ],
)  # fmt: skip
def test_mistakes_in_statements(text, code):
    assert code in codes(text)


def test_all_problems_travel_in_one_error():
    with pytest.raises(FlowError) as caught:
        graph_of(S + "sink s | where nope > zap to console")
    assert [d.code for d in caught.value.diagnostics] == ["FE201", "FE201"]


def test_a_mistake_inside_an_import_names_its_file():
    (found,) = problems(
        'import "lib.flow"\n' + S + "sink s | f to console",
        imports={"lib.flow": "def f() = where nope > 3"}.__getitem__,
    )
    assert found.labels[0].span.file == "lib.flow"


def test_warnings_come_with_the_graph():
    graph = graph_of(S + "param unused = 3\nsink s to console")
    assert [w.code for w in graph.warnings] == ["FE209"]


def test_a_deadline_behind_lead_needs_a_rate():
    flow = 'source s (time, v: f64){} from arrow("in.arrow")\nsink s | derive n = lead(v, 1) deadline {} else drop to console\n'
    assert codes(flow.format("", "1 h")) == ["FE410"]
    assert codes(flow.format(" at 10 Hz", "50 ms")) == ["FE410"]
    assert codes(flow.format(" at 10 Hz", "200 ms")) == []


def test_deep_expansion_ends():
    lines = ["fn f0(x) = x + 1", *(f"fn f{i}(x) = f{i - 1}(x) + 1" for i in range(1, 150))]
    assert codes(
        "\n".join(lines)
        + "\n"
        + 'source s (time, v: f64) from arrow("a")\nsink s | derive q = f149(v) to console'
    ) == ["FE213"]


def test_a_filter_behind_a_condition_says_what_took_the_rate_away():
    (found,) = problems(S + "sink s | where n > 3 | filter lowpass(5 Hz) on v to console")
    assert found.code == "FE402"
    assert "before `where`" in found.fix


def test_names_of_the_engine_are_not_taken():
    assert refused("v") == []
    assert codes(S + "sink s | derive _arg1 = v to console") == ["FE222"]
    assert codes('source s (time, _branch: i64) from arrow("a")\nsink s to console') == ["FE222"]
    assert codes(S + "sink s | derive _mine = v to console") == []
