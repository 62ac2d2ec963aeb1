"""Section 3 and 6 of the language: where inputs meet, other keys, other orders, models."""

import numpy as np
import pyarrow as pa
import pytest
from support.flow import CATALOG

from flowedge.compile import program as p
from flowedge.compile.native import load
from flowedge.lang.errors import ModelError
from flowedge.runtime.plan import compile_flow
from flowedge.session.meeting import turns

NEVER, FOREVER = p.NEVER, p.FOREVER


def test_a_left_row_takes_the_newest_right_row_at_or_before_it(plan, h):
    left, right = plan.source("left"), plan.source("right")
    plan.sink(plan.latest(left, right))
    session = plan.session()
    out = h.Out(session)
    out += session.push("left", h.rows([1, 2, 3]))
    assert out.batches["out"] == []
    out += session.push("right", h.rows([1, 2.5, 3], [10.0, 20.0, 30.0]))
    assert out.columns("right") == [10.0, 10.0]
    out += session.finish()
    assert out.columns("right") == [10.0, 10.0, 30.0]


def test_the_arrival_between_joined_inputs_cannot_be_seen(plan, h):
    left, right = plan.source("left"), plan.source("right")
    plan.sink(plan.latest(left, right))
    rng = np.random.default_rng(3)
    a = h.rows(np.sort(rng.integers(0, 20, 30)).tolist())
    b = h.rows(np.sort(rng.integers(0, 20, 30)).tolist())
    results = []
    for first in (["left", "right"] * 30, ["right", "left"] * 30, ["left"] * 30 + ["right"] * 30):
        places = {"left": 0, "right": 0}
        pushes = []
        for name in first[:60]:
            pushes.append((name, {"left": a, "right": b}[name].slice(places[name], 1)))
            places[name] += 1
        results.append(str(h.whole(plan.session(), pushes, "time", "v", "right")))
    assert results[0] == results[1] == results[2]


def test_keys_are_joined_with_keys_by_maps_of_slots(plan, h):
    left = plan.source("left", keys=("string", "i64"))
    right = plan.source("right", keys=("string",))
    # The columns of the join table are found by name in both.
    join = (left.table, right.table, right.table)
    plan.sink(plan.latest(left, right, join=join))
    pushes = [
        ("right", h.rows([0, 0, 3], [1.0, 2.0, 3.0], k0=["b", "a", "a"])),
        ("left", h.rows([1, 2, 4], k0=["a", "b", "a"], k1=[7, 8, 9])),
    ]
    got = h.whole(plan.session(), pushes, "k0", "k1", "right")
    assert got == [["a", "b", "a"], [7, 8, 9], [2.0, 1.0, 3.0]]


def test_a_right_side_without_keys_serves_all(plan, h):
    left, right = plan.source("left", keys=("string",)), plan.source("right")
    plan.sink(plan.latest(left, right, join=(left.table, -1, -1)))
    pushes = [
        ("right", h.rows([0, 3], [1.0, 2.0])),
        ("left", h.rows([1, 2, 4], k0=["a", "b", "c"])),
    ]
    assert h.whole(plan.session(), pushes, "k0", "right") == [["a", "b", "c"], [1.0, 1.0, 2.0]]


def test_turns_let_rows_go_that_nothing_can_precede():
    assert turns([NEVER, 5]) == [5, NEVER]
    assert turns([FOREVER, 5]) == [5, FOREVER]
    assert turns([7, 5, 6]) == [5, 6, 4]


def union(plan, h, keys=()):
    a = plan.source("a", keys=keys)
    b = plan.source(
        "b",
        keys=keys,
        fields=(p.Field("v", "f64"), p.Field("w", "i64")),
        table=a.table if keys else None,
    )
    fields = (
        p.Field("v", "f64"),
        p.Field("w", "i64"),
        p.Field("branch", "string", labels=("a", "b")),
    )
    take = (
        (("v", "v", 1.0, 0.0), ("w", None, 1.0, 0.0), ("branch", None, 1.0, 0.0)),
        (("v", "v", 1000.0, 1.0), ("w", "w", 1.0, 0.0), ("branch", None, 1.0, 0.0)),
    )
    plan.sink(
        plan.add(
            p.MergeSpec,
            inputs=(a.id, b.id),
            fields=fields,
            take=take,
            branches=("a", "b"),
            table=a.table,
            label="u",
        )
    )
    return a, b


def test_a_union_stands_in_the_order_of_time_place_sequence(plan, h):
    union(plan, h, keys=("i64",))
    one = h.rows([1, 2, 2], [1.0, 2.0, 3.0], k0=[4, 5, 4])
    two = h.rows([0, 2, 3], [1.0, 2.0, 3.0], k0=[5, 5, 6]).append_column(
        "w", pa.array([7, None, 9])
    )
    for pushes in ([("a", one), ("b", two)], [("b", two), ("a", one)]):
        session = plan.session()
        got = h.whole(session, pushes, "time", "k0", "v", "w", "branch")
        assert got == [
            [0.0, 1.0, 2.0, 2.0, 2.0, 3.0],
            [5, 4, 5, 4, 5, 6],
            [1001.0, 1.0, 2.0, 3.0, 2001.0, 3001.0],
            [7, None, None, None, None, 9],
            ["b", "a", "a", "a", "b", "b"],
        ]
        assert session.ledger()["u"]["used"] == 6


def test_rows_in_order_inside_a_key_are_put_into_the_order_time_key_sequence(plan, h):
    source = plan.source(keys=("string",), late_per_key=True)
    order = plan.add(
        p.OrderSpec, inputs=(source.id,), fields=source.fields, table=source.table, label="order"
    )
    plan.sink(order)
    session = plan.session()
    batch = h.rows([2, 3, 1, 2, 2], k0=["z", "z", "b", "b", "a"])
    out = h.Out(session)
    out += session.push("s", batch)
    assert out.batches["out"] == []
    out += session.mark("s", 2 * h.SECOND)
    assert out.columns("k0") == ["b"]
    assert session.ledger()["order"]["held"] == 4
    out += session.finish()
    assert out.columns("time", "k0") == [[1.0, 2.0, 2.0, 2.0, 3.0], ["b", "a", "b", "z", "z"]]


@pytest.mark.parametrize("keys", [("k1",), ("v",), ("k0", "k1"), ("v", "k0")])
def test_rows_are_given_to_other_keys(plan, h, keys):
    source = plan.source(keys=("string", "i64"), fields=(p.Field("v", "i64"),))
    stores = {"k0": "string", "k1": "i64", "v": "i64"}
    rest = tuple(p.Field(n, s) for n, s in stores.items() if n not in keys)
    plan.tables.append(p.TableSpec(fields=tuple(p.Field(k, stores[k]) for k in keys)))
    spec = plan.add(
        p.RekeySpec,
        inputs=(source.id,),
        fields=rest,
        keys=keys,
        keep=tuple((f.name, f.name) for f in rest),
        table=1,
    )
    plan.sink(spec)
    batch = pa.RecordBatch.from_pydict({
        "time": pa.array([0, 1, 2], h.UTC), "v": [7, 8, 7], "k0": ["a", "b", "a"], "k1": [1, 1, 2],
    })  # fmt: skip
    got = h.whole(
        plan.session(), [("s", batch.slice(0, 1)), ("s", batch.slice(1))], "k0", "k1", "v"
    )
    assert got == [["a", "b", "a"], [1, 1, 2], [7, 8, 7]]


def test_rows_can_lose_their_keys(plan, h):
    source = plan.source(keys=("string",))
    fields = (h.F64, p.Field("k0", "string"))
    spec = plan.add(
        p.RekeySpec, inputs=(source.id,), fields=fields, keep=(("v", "v"), ("k0", "k0"))
    )
    plan.sink(plan.window(spec))
    got = h.whole(
        plan.session(), [("s", h.rows([0, 0.5, 1], [1.0, 2.0, 4.0], k0=["a", "b", "a"]))], "v"
    )
    assert got == [3.0, 4.0]


class Net:
    """Two scores: the sum of the frame, and its negative; notes what it is asked."""

    def __init__(self):
        self.sizes = []

    def infer(self, inputs):
        (x,) = inputs
        self.sizes.append(len(x))
        total = x.reshape(len(x), -1).astype(np.float64).sum(axis=1)
        with np.errstate(over="ignore"):
            return [np.stack([total, -total], axis=1).astype(np.float32)]


def classify(plan, h, labels=("up", "down"), batch=4, made=None, head="softmax"):
    source = plan.source(fields=(p.Field("x", "f32", (3,)),))
    fields = (
        p.Field("x", "f32", (3,)), p.Field("label", "string", labels=labels), p.Field("score", "f64"),
        p.Field("probs", "f32", (2,)),
    )  # fmt: skip
    made = made or (("label", "label", 0), ("score", "score", 0), ("probs", "probs", 0))
    call = p.CallSpec(
        model="net", inputs_by_name=("x",), heads=((head, labels, 0),), made=made, batch=batch
    )
    plan.sink(
        plan.add(
            p.ModelSpec, inputs=(source.id,), call=call, fields=fields, passed=("x",), label="net",
        )
    )  # fmt: skip


def frames(h, values):
    flat = np.array(values, np.float32).repeat(3)
    x = pa.FixedSizeListArray.from_arrays(pa.array(flat), 3)
    time = pa.array(np.arange(len(values)) * h.SECOND, pa.int64()).cast(h.UTC)
    return pa.RecordBatch.from_pydict({"time": time, "x": x})


def test_a_model_is_always_asked_about_the_same_number_of_frames(plan, h):
    classify(plan, h)
    net = Net()
    session = plan.session({"net": net})
    got = h.whole(session, [("s", frames(h, [1, -1, 2, -2, 3, -3]))], "label", "score")
    assert net.sizes == [4, 4]
    assert got[0] == ["up", "down"] * 3
    assert got[1][0] == pytest.approx(1 / (1 + np.exp(-6)))


def test_answers_do_not_depend_on_the_pushes(plan, h):
    classify(plan, h)
    batch = frames(h, np.arange(-5, 6))
    whole = h.whole(plan.session({"net": Net()}), [("s", batch)], "time", "label", "score", "probs")
    pieces = [("s", batch.slice(i, 1)) for i in range(11)]
    assert h.whole(plan.session({"net": Net()}), pieces, "time", "label", "score", "probs") == whole


def test_a_model_is_not_asked_about_a_frame_with_a_missing_value(plan, h):
    classify(plan, h)
    net = Net()
    session = plan.session({"net": net})
    label, score = h.whole(session, [("s", frames(h, [1, np.nan, -1]))], "label", "score")
    assert label == ["up", None, "down"]
    assert np.isnan(score[1])
    assert not np.isnan([score[0], score[2]]).any()


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_an_answer_that_is_no_number_has_no_label(plan, h, head):
    classify(plan, h, head=head)
    session = plan.session({"net": Net()})
    values = [1, np.inf, -1, 3e38]
    label, score = h.whole(session, [("s", frames(h, values))], "label", "score")
    if head == "softmax":
        assert label == ["up", None, "down", None]
        assert np.isnan(score).tolist() == [False, True, False, True]
    else:  # here each score stands alone
        assert label == ["up", "up", "down", "up"]


def test_the_outputs_of_a_model_can_be_columns(plan, h):
    classify(plan, h, made=(("probs", "raw", 0), ("label", "label", 0), ("score", "score", 0)))
    got = h.whole(plan.session({"net": Net()}), [("s", frames(h, [1]))], "probs")
    assert got == [[3.0, -3.0]]


def test_a_model_with_other_scores_than_labels_is_told_before_the_first_row(plan, h):
    classify(
        plan,
        h,
        labels=("a", "b", "c"),
        made=(("label", "label", 0), ("score", "score", 0), ("probs", "raw", 0)),
    )
    with pytest.raises(ModelError, match=r"gives \[2\] for a frame, where 3 numbers are declared"):
        plan.session({"net": Net()}).warm_up()


def test_keys_stand_in_the_order_of_their_values_not_of_appearance(plan, h):
    plan.sink(plan.window(plan.source(keys=("string", "i64"))))
    batch = h.rows([0.0, 0.1, 0.2, 0.3, 1.5], k0=["é", "b", "b", "a", "b"], k1=[1, 9, -3, 5, 9])
    got = h.whole(plan.session(), [("s", batch)], "time", "k0", "k1")
    assert got[1] == ["a", "b", "b", "é", "b"]
    assert got[2] == [5, -3, 9, 1, 9]


@pytest.mark.parametrize("kind", ["i64", "string", "pair"])
def test_a_million_keys(plan, h, kind):
    n = 1_000_000
    number = np.random.default_rng(1).permutation(n)
    stores = {"i64": ("i64",), "string": ("string",), "pair": ("i64", "i64")}[kind]
    plan.sink(plan.window(plan.source(keys=stores)))
    time = pa.array(np.arange(n), pa.int64()).cast(h.UTC)
    columns = {"time": time, "v": np.ones(n)}
    if kind == "i64":
        columns["k0"] = pa.array(number)
    elif kind == "string":
        columns["k0"] = pa.array(number).cast(pa.string())
    else:
        columns |= {"k0": pa.array(number // 1000), "k1": pa.array(number % 1000)}
    session = plan.session()
    out = session.run({"s": pa.RecordBatch.from_pydict(columns)})["out"]
    assert out.num_rows == n
    assert out["v"].to_numpy().sum() == n
    if kind != "string":
        keys = out["k0"].to_numpy() * (1000 if kind == "pair" else 1)
        keys = keys + (out["k1"].to_numpy() if kind == "pair" else 0)
        assert (np.diff(keys) == 1).all()
        assert session.nbytes < 120e6


def test_a_kernel_is_loaded_once_for_all_sessions(plan, h):
    plan.sink(plan.double(plan.source()))
    a, b = plan.session(), plan.session()
    assert a.nodes[1].runner.kernel is b.nodes[1].runner.kernel is load(plan.objects["o0"])
    a.push("s", h.rows([5]))
    assert b.push("s", h.rows([1], [3.0]))["out"]["v"].to_pylist() == [6.0]


def test_a_detector_with_more_candidates_than_the_first_room_goes_on():
    """Of irregular rows without a refractory period: 1,503 candidates, and room for 1,024 rows."""
    text = (
        "source s (time, v: f64) from given()\n"
        "sink s | detect peaks(v, threshold=adaptive(2 s), rise=0.75) to expected()\n"
    )
    ns = np.arange(400) * 50_000_000
    rows = pa.table({"time": pa.array(ns, pa.timestamp("ns", "UTC")), "v": np.sin(ns / 2e8) * 3})
    (found,) = compile_flow(text=text, catalog=CATALOG).run({"s": rows}).values()
    assert found.num_rows > 5
    assert min(found["value"].to_pylist()) > 2.5
